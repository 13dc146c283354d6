//! Signals by name and number (signal(7)), as on Linux's x86-64.

/// Names without `SIG`, by number; the gap is a signal that this architecture does not have.
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
    "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
    "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// The highest number: `SIGRTMAX`.
const MAX: u8 = 64;

/// Reads a signal: `TERM`, `SIGTERM`, `term` or `15`.
///
/// # Errors
/// Why it is none, in words.
pub fn parse(text: &str) -> Result<u8, String> {
    if let Ok(number) = text.parse::<u8>() {
        return match number {
            1..=MAX => Ok(number),
            _ => Err(format!("signals have numbers from 1 to {MAX}")),
        };
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let position = NAMES.iter().position(|known| *known == name);
    position
        .and_then(|position| u8::try_from(position + 1).ok())
        .ok_or_else(|| "no such signal; `TERM`, `SIGHUP` and `9` are some".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        assert_eq!(
            [
                parse("TERM"),
                parse("SIGTERM"),
                parse("sigusr1"),
                parse("9"),
                parse("SYS")
            ],
            [Ok(15), Ok(15), Ok(10), Ok(9), Ok(31)]
        );
        for text in ["0", "65", "", "SIG", "TERMS", "-9"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
