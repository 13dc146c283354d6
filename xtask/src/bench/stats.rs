//! A column of figures in three: median, smallest, largest.

/// What is said of a column.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Summary {
    /// The one in the middle, or the mean of the two.
    pub(super) median: f64,
    min: f64,
    max: f64,
}

impl Summary {
    /// The summary of at least one value; all are zero of none.
    pub(super) fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let (Some(&min), Some(&max)) = (values.first(), values.last()) else {
            return Self {
                median: 0.0,
                min: 0.0,
                max: 0.0,
            };
        };
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[middle]
        } else {
            (values[middle - 1] + values[middle]) / 2.0
        };
        Self { median, min, max }
    }

    /// As cells of a table, with that many digits after the point.
    pub(super) fn cells(&self, digits: usize) -> String {
        format!(
            "{:.digits$} | {:.digits$} | {:.digits$}",
            self.median, self.min, self.max
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(
            Summary::of(vec![3.0, 1.0, 2.0]),
            Summary {
                median: 2.0,
                min: 1.0,
                max: 3.0
            }
        );
        assert_eq!(Summary::of(vec![4.0, 1.0, 2.0, 9.0]).median, 3.0);
        assert_eq!(Summary::of(vec![1.26, 1.0]).cells(1), "1.1 | 1.0 | 1.3");
    }
}
