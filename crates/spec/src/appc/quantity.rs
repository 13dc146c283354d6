//! Amounts of a resource (appc specification, "Resource Isolators"): a decimal number with a metric suffix, a binary one, or
//! `m` for thousandths. They are rounded up to the unit that is asked for.

/// An amount in bytes.
pub(super) fn bytes(text: &str) -> Option<u64> {
    u64::try_from(thousandths(text)?.div_ceil(1000)).ok()
}

/// An amount in thousandths.
pub(super) fn millis(text: &str) -> Option<u32> {
    u32::try_from(thousandths(text)?).ok()
}

/// Digits behind the point that are looked at: more than bytes or thousandths can hold.
const MAX_FRACTION: usize = 9;

fn thousandths(text: &str) -> Option<u128> {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') || fraction.len() > MAX_FRACTION {
        return None;
    }
    // Thousandths of one of the suffix.
    let unit: u128 = match suffix {
        "m" => 1,
        "" => 1000,
        "K" | "k" => 1000 * 1000,
        "M" => 1000 * 1000_u128.pow(2),
        "G" => 1000 * 1000_u128.pow(3),
        "T" => 1000 * 1000_u128.pow(4),
        "P" => 1000 * 1000_u128.pow(5),
        "E" => 1000 * 1000_u128.pow(6),
        "Ki" => 1000 << 10,
        "Mi" => 1000 << 20,
        "Gi" => 1000 << 30,
        "Ti" => 1000 << 40,
        "Pi" => 1000 << 50,
        "Ei" => 1000 << 60,
        _ => return None,
    };
    let parse = |digits: &str| match digits {
        "" => Some(0),
        digits => digits.parse::<u64>().ok().map(u128::from),
    };
    let part = parse(fraction)?.checked_mul(unit)?;
    let scale = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    parse(whole)?.checked_mul(unit)?.checked_add(part.div_ceil(scale))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_the_specifications() {
        // The specification's own three.
        for text in ["128974848", "125952Ki", "123Mi"] {
            assert_eq!(bytes(text), Some(128_974_848), "{text}");
        }
        for (text, expected) in [
            ("1G", 1_000_000_000),
            ("0.5Ki", 512),
            ("1500m", 2),
            ("16E", 16 * 10_u64.pow(18)),
        ] {
            assert_eq!(bytes(text), Some(expected), "{text}");
        }
        for (text, expected) in [
            ("250m", 250),
            ("0.3", 300),
            ("2", 2000),
            ("1.0005", 1001),
            (".5", 500),
        ] {
            assert_eq!(millis(text), Some(expected), "{text}");
        }
        for bad in [
            "",
            ".",
            "m",
            "1.2.3",
            "-1",
            "+1",
            "1 G",
            "1e3",
            "1kb",
            "20E",
            "1.0000000001",
            "0x1",
        ] {
            assert_eq!(bytes(bad), None, "{bad}");
        }
    }
}
