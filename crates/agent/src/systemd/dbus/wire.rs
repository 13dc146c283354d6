//! Values in D-Bus's wire format, little endian ("Marshaling"): what a call carries, and what an answer does. Only the
//! types that the agent has a use for.

use super::error::DbusError;

/// A call's arguments, in the wire's form.
#[derive(Debug, Default)]
pub(crate) struct Args {
    pub(super) signature: String,
    pub(super) body: Encoder,
}

impl Args {
    pub(crate) fn string(mut self, text: &str) -> Self {
        self.signature.push('s');
        self.body.string(text);
        self
    }

    pub(crate) fn boolean(mut self, value: bool) -> Self {
        self.signature.push('b');
        self.body.u32(value.into());
        self
    }

    /// Names with numbers of 64 bits: `a(sv)`.
    pub(crate) fn properties(mut self, properties: &[(String, u64)]) -> Self {
        self.signature.push_str("a(sv)");
        // The length of an array is that of what follows the padding before its first element.
        self.body.u32(0);
        let at = self.body.0.len() - 4;
        self.body.align(8);
        let begin = self.body.0.len();
        for (name, value) in properties {
            self.body.align(8);
            self.body.string(name);
            self.body.signature("t");
            self.body.align(8);
            self.body.0.extend(value.to_le_bytes());
        }
        let bytes = u32::try_from(self.body.0.len() - begin).unwrap_or(u32::MAX);
        self.body.0[at..at + 4].copy_from_slice(&bytes.to_le_bytes());
        self
    }

    pub(crate) fn int32(mut self, number: i32) -> Self {
        self.signature.push('i');
        self.body.u32(number.cast_unsigned());
        self
    }
}

/// A value that can be read from the wire ("Marshaling").
pub(crate) trait FromWire: Sized {
    const SIGNATURE: &'static str;
    fn read(from: &mut Decoder<'_>) -> Option<Self>;
}

impl FromWire for i32 {
    const SIGNATURE: &'static str = "i";
    fn read(from: &mut Decoder<'_>) -> Option<Self> {
        from.u32().map(u32::cast_signed)
    }
}

impl FromWire for u32 {
    const SIGNATURE: &'static str = "u";
    fn read(from: &mut Decoder<'_>) -> Option<Self> {
        from.u32()
    }
}

impl FromWire for bool {
    const SIGNATURE: &'static str = "b";
    fn read(from: &mut Decoder<'_>) -> Option<Self> {
        from.u32().map(|value| value != 0)
    }
}

impl FromWire for u64 {
    const SIGNATURE: &'static str = "t";
    fn read(from: &mut Decoder<'_>) -> Option<Self> {
        from.align(8)?;
        from.take(8)?.try_into().ok().map(u64::from_le_bytes)
    }
}

impl FromWire for String {
    const SIGNATURE: &'static str = "s";
    fn read(from: &mut Decoder<'_>) -> Option<Self> {
        from.string()
    }
}

impl FromWire for Vec<String> {
    const SIGNATURE: &'static str = "as";
    fn read(from: &mut Decoder<'_>) -> Option<Self> {
        let bytes = usize::try_from(from.u32()?).ok()?;
        let end = from.at.checked_add(bytes)?;
        let mut list = Vec::new();
        while from.at < end {
            list.push(from.string()?);
        }
        Some(list)
    }
}

/// A number and an object path: a unit's `Job`.
#[derive(Debug)]
pub(crate) struct SystemdJob(pub(crate) u32);

impl FromWire for SystemdJob {
    const SIGNATURE: &'static str = "(uo)";
    fn read(from: &mut Decoder<'_>) -> Option<Self> {
        from.align(8)?;
        let id = from.u32()?;
        from.string()?;
        Some(Self(id))
    }
}

/// How the last of a service's commands of one kind ended, as its `ExecStopPost` has it: waitid(2)'s `si_code` and
/// `si_status`, 0 where it has not.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct CommandEnd {
    pub(crate) code: i32,
    pub(crate) status: i32,
}

impl FromWire for CommandEnd {
    const SIGNATURE: &'static str = "a(sasbttttuii)";
    fn read(from: &mut Decoder<'_>) -> Option<Self> {
        let bytes = usize::try_from(from.u32()?).ok()?;
        from.align(8)?;
        let end = from.at.checked_add(bytes)?;
        let mut last = Self::default();
        while from.at < end {
            from.align(8)?;
            from.string()?;
            Vec::<String>::read(from)?;
            bool::read(from)?;
            for _when in 0..4 {
                u64::read(from)?;
            }
            let _pid = from.u32()?;
            last = Self {
                code: i32::read(from)?,
                status: i32::read(from)?,
            };
        }
        Some(last)
    }
}

/// Reads a variant that must hold a `T`.
pub(crate) fn variant<T: FromWire>(body: &[u8]) -> Result<T, DbusError> {
    let mut from = Decoder { bytes: body, at: 0 };
    let signature = from.signature().filter(|signature| signature == T::SIGNATURE);
    signature
        .and_then(|_| T::read(&mut from))
        .ok_or(DbusError::Type(T::SIGNATURE))
}

/// A length on the wire. What is sent is a few names long.
pub(super) fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

/// Writes the wire's form.
#[derive(Debug, Default)]
pub(super) struct Encoder(pub(super) Vec<u8>);

impl Encoder {
    pub(super) fn align(&mut self, to: usize) {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
    }

    pub(super) fn u32(&mut self, number: u32) {
        self.align(4);
        self.0.extend(number.to_le_bytes());
    }

    pub(super) fn string(&mut self, text: &str) {
        self.u32(length(text.as_bytes()));
        self.0.extend(text.as_bytes());
        self.0.push(0);
    }

    pub(super) fn signature(&mut self, signature: &str) {
        self.0.push(u8::try_from(signature.len()).unwrap_or(u8::MAX));
        self.0.extend(signature.as_bytes());
        self.0.push(0);
    }

    /// The beginning of a header field: a structure of a code and a variant.
    pub(super) fn field(&mut self, code: u8, signature: char) {
        self.align(8);
        self.0.push(code);
        self.signature(signature.encode_utf8(&mut [0; 4]));
    }
}

/// Reads the wire's form.
#[derive(Debug)]
pub(crate) struct Decoder<'b> {
    pub(super) bytes: &'b [u8],
    pub(super) at: usize,
}

impl<'b> Decoder<'b> {
    /// A decoder of a body.
    pub(crate) fn new(bytes: &'b [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(super) fn take(&mut self, bytes: usize) -> Option<&'b [u8]> {
        let end = self.at.checked_add(bytes)?;
        let taken = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    pub(super) fn align(&mut self, to: usize) -> Option<()> {
        self.take(self.at.next_multiple_of(to) - self.at).map(drop)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.align(4)?;
        self.take(4)?.try_into().ok().map(u32::from_le_bytes)
    }

    /// A string or an object path.
    pub(crate) fn string(&mut self) -> Option<String> {
        let bytes = usize::try_from(self.u32()?).ok()?;
        self.text(bytes)
    }

    pub(super) fn signature(&mut self) -> Option<String> {
        let [bytes] = *self.take(1)? else { return None };
        self.text(usize::from(bytes))
    }

    fn text(&mut self, bytes: usize) -> Option<String> {
        let text = std::str::from_utf8(self.take(bytes)?).ok()?.to_owned();
        (self.take(1)? == [0]).then_some(text)
    }
}
