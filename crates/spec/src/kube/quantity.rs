//! Quantities: `100m`, `0.5`, `64Mi`, `1e3` (apimachinery, `resource.Quantity`).

/// A quantity, in billionths; smaller parts are rounded up, as the API does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Quantity {
    nanos: u128,
}

const NANO: u128 = 1_000_000_000;

/// More than the API takes (2^63 - 1), and far from the limits of the arithmetic.
const MAX_NANOS: u128 = (1 << 63) * NANO;

impl Quantity {
    pub(super) fn whole(units: u64) -> Self {
        Self {
            nanos: u128::from(units) * NANO,
        }
    }

    /// Reads a quantity that is not negative.
    pub(super) fn read(text: &str) -> Option<Self> {
        let text = text.strip_prefix('+').unwrap_or(text);
        let end = text
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(text.len());
        let (digits, suffix) = text.split_at(end);
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        if whole.is_empty() && fraction.is_empty() || fraction.contains('.') || digits.len() > 40 {
            return None;
        }
        let digits: u128 = format!("{whole}{fraction}").parse().ok()?;
        let (multiple, power) = scale(suffix)?;
        let power = power
            .checked_add(9)?
            .checked_sub(i32::try_from(fraction.len()).ok()?)?;
        if digits == 0 {
            return Some(Self::default());
        }
        let scaled = digits.checked_mul(multiple)?;
        let nanos = match u32::try_from(power) {
            Ok(power) => scaled.checked_mul(10_u128.checked_pow(power)?)?,
            Err(_) => 10_u128
                .checked_pow(power.unsigned_abs())
                .map_or(1, |by| scaled.div_ceil(by)),
        };
        (nanos <= MAX_NANOS).then_some(Self { nanos })
    }

    /// Whole units, rounded up.
    pub(super) fn units(self) -> u64 {
        u64::try_from(self.nanos.div_ceil(NANO)).unwrap_or(u64::MAX)
    }

    /// Thousandths, rounded up.
    pub(super) fn millis(self) -> u64 {
        u64::try_from(self.nanos.div_ceil(NANO / 1000)).unwrap_or(u64::MAX)
    }

    /// How often `divisor` is in it, rounded up; `None` for a divisor of zero.
    pub(super) fn divided_by(self, divisor: Self) -> Option<u128> {
        (divisor.nanos > 0).then(|| self.nanos.div_ceil(divisor.nanos))
    }
}

/// A suffix as a multiple and a power of ten.
fn scale(suffix: &str) -> Option<(u128, i32)> {
    Some(match suffix {
        "" => (1, 0),
        "n" => (1, -9),
        "u" => (1, -6),
        "m" => (1, -3),
        "k" => (1, 3),
        "M" => (1, 6),
        "G" => (1, 9),
        "T" => (1, 12),
        "P" => (1, 15),
        "E" => (1, 18),
        "Ki" => (1 << 10, 0),
        "Mi" => (1 << 20, 0),
        "Gi" => (1 << 30, 0),
        "Ti" => (1 << 40, 0),
        "Pi" => (1 << 50, 0),
        "Ei" => (1 << 60, 0),
        _ => (1, suffix.strip_prefix(['e', 'E'])?.parse::<i8>().ok()?.into()),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_what_the_api_reads() {
        for (text, nanos) in [
            ("0", 0),
            ("1", NANO),
            ("100m", NANO / 10),
            ("0.5", NANO / 2),
            (".5", NANO / 2),
            ("5.", 5 * NANO),
            ("64Mi", 64 * 1024 * 1024 * NANO),
            ("1.5Gi", 1536 * 1024 * 1024 * NANO),
            ("1e3", 1000 * NANO),
            ("1E3", 1000 * NANO),
            ("1E", 1_000_000_000_000_000_000 * NANO),
            ("12e-1", 12 * NANO / 10),
            ("1n", 1),
            ("0.1n", 1),
            ("7Ei", 7 * (1 << 60) * NANO),
        ] {
            assert_eq!(Quantity::read(text), Some(Quantity { nanos }), "{text}");
        }
        for text in [
            "",
            "m",
            ".",
            "-1",
            "1.2.3",
            "1mi",
            "1 Mi",
            "1e",
            "1e1000",
            "99999999999999999999",
            "8Ei1",
            "1K",
        ] {
            assert_eq!(Quantity::read(text), None, "{text}");
        }
    }

    #[test]
    fn divides_upwards_as_the_downward_api_does() {
        let quantity = |text| Quantity::read(text).unwrap();
        assert_eq!(quantity("100m").divided_by(quantity("1")), Some(1));
        assert_eq!(quantity("1500m").divided_by(quantity("1m")), Some(1500));
        assert_eq!(quantity("64Mi").divided_by(quantity("1Mi")), Some(64));
        assert_eq!(quantity("1").divided_by(quantity("0")), None);
        assert_eq!((quantity("1500m").units(), quantity("1500m").millis()), (2, 1500));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,30}|[0-9.]{0,45}[a-zA-Z+-]{0,3}[0-9]{0,4}") {
            let _ = Quantity::read(&text).map(|quantity| (quantity.units(), quantity.millis()));
        }

        #[test]
        fn whole_numbers_are_themselves(n in 0_u64..(1 << 62)) {
            prop_assert_eq!(Quantity::read(&n.to_string()), Some(Quantity::whole(n)));
        }
    }
}
