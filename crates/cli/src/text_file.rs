//! Text that comes from a file or from standard input.

use std::io::Read;

/// More than any pod file: the most that the values of a thousand ConfigMaps hold.
const MAX_BYTES: u64 = 64 << 20;

/// The text of a file of a bounded size.
pub(crate) fn read(file: impl Read) -> Result<String, String> {
    let mut bytes = Vec::new();
    let read = file.take(MAX_BYTES + 1).read_to_end(&mut bytes);
    if read.map_err(|error| error.to_string())? as u64 > MAX_BYTES {
        return Err("it is larger than 64 MiB".into());
    }
    String::from_utf8(bytes).map_err(|_| "it is not UTF-8".into())
}
