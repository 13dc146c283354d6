//! The keys that end a command and not what it is connected with (docker's `--detach-keys`), and the search for them in
//! what is typed.

/// Why keys cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not a detach key: a key is a character, or `ctrl-` and a letter or one of `@[\\]^_`", .key.escape_debug())]
pub(crate) struct KeyError {
    key: String,
}

/// A sequence of keys; empty: none detaches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DetachKeys(Vec<u8>);

impl Default for DetachKeys {
    /// Ctrl-P, Ctrl-Q: docker's and podman's.
    fn default() -> Self {
        Self(vec![0x10, 0x11])
    }
}

impl DetachKeys {
    /// Reads `KEY[,KEY...]`; nothing: there are none (podman's rule).
    ///
    /// # Errors
    /// [`KeyError`].
    pub(crate) fn parse(text: &str) -> Result<Self, KeyError> {
        let keys = text.split(',').filter(|_| !text.is_empty());
        keys.map(key).collect::<Result<_, _>>().map(Self)
    }
}

/// The byte that a key is.
fn key(text: &str) -> Result<u8, KeyError> {
    let error = || KeyError { key: text.to_owned() };
    let control = text.get(..5).filter(|word| word.eq_ignore_ascii_case("ctrl-"));
    match (control, text.as_bytes()) {
        (Some(_), [.., c]) if text.len() == 6 => match c.to_ascii_uppercase() {
            c @ b'@'..=b'_' => Ok(c - b'@'),
            _ => Err(error()),
        },
        (None, [c @ 0x21..=0x7e]) => Ok(*c),
        _ => Err(error()),
    }
}

/// What is typed, searched for the keys.
#[derive(Debug)]
pub(crate) struct Typed {
    keys: DetachKeys,
    /// Bytes that may become the sequence.
    held: Vec<u8>,
}

/// What becomes of bytes that were typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Passed {
    /// These are for what is connected.
    On(Vec<u8>),
    /// These are, and behind them was the sequence.
    Detach(Vec<u8>),
}

impl Typed {
    pub(crate) fn new(keys: DetachKeys) -> Self {
        Self {
            keys,
            held: Vec::new(),
        }
    }

    /// Takes bytes that were typed. The beginning of a sequence is held back until it is none.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Passed {
        let DetachKeys(keys) = &self.keys;
        let mut passed = Vec::with_capacity(bytes.len());
        for byte in bytes {
            self.held.push(*byte);
            while !keys.starts_with(&self.held) {
                passed.push(self.held.remove(0));
            }
            if !keys.is_empty() && self.held.len() == keys.len() {
                self.held.clear();
                return Passed::Detach(passed);
            }
        }
        Passed::On(passed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_docker_has_them() {
        let keys = |text| DetachKeys::parse(text).map(|keys| keys.0);
        assert_eq!(keys("ctrl-p,ctrl-q"), Ok(DetachKeys::default().0));
        assert_eq!(keys("CTRL-a,b,ctrl-\\,ctrl-@"), Ok(vec![1, b'b', 0x1c, 0]));
        assert_eq!(keys(""), Ok(vec![]));
        for wrong in ["ctrl-", "ctrl-1", "ab", "a,", ",", "ctrl-pp", "é", " "] {
            assert!(keys(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_sequence_is_found_wherever_it_is_cut() {
        let mut typed = Typed::new(DetachKeys::default());
        let on = |bytes: &[u8]| Passed::On(bytes.to_vec());
        assert_eq!(typed.push(b"ls\r"), on(b"ls\r"));
        assert_eq!(typed.push(b"a\x10"), on(b"a"));
        // It was the key itself: a shell's way to the line before.
        assert_eq!(typed.push(b"b"), on(b"\x10b"));
        assert_eq!(typed.push(b"\x10\x10"), on(b"\x10"));
        assert_eq!(typed.push(b"\x11rest"), Passed::Detach(Vec::new()));
        assert_eq!(typed.push(b"x\x10\x11y"), Passed::Detach(b"x".to_vec()));

        let mut typed = Typed::new(DetachKeys(b"aab".to_vec()));
        assert_eq!(typed.push(b"aaab"), Passed::Detach(b"a".to_vec()));
        let mut typed = Typed::new(DetachKeys(Vec::new()));
        assert_eq!(typed.push(b"\x10\x11"), on(b"\x10\x11"));
    }
}
