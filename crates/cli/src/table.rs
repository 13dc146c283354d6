//! Tables and times for people.

use std::time::Duration;

/// Lines of cells under their heads, in columns as wide as their widest cell.
pub(crate) fn table<const N: usize>(heads: [&str; N], rows: &[[String; N]]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([heads[column].len()]).max().unwrap_or(0)
    };
    let widths: [usize; N] = std::array::from_fn(width);
    let line = |cells: &[String; N]| {
        let cells = cells
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:<width$}  "));
        cells.collect::<String>().trim_end().to_owned() + "\n"
    };
    let mut text = line(&heads.map(str::to_owned));
    text.extend(rows.iter().map(line));
    text
}

/// A time that has passed, in its largest unit.
pub(crate) fn age(passed: Duration) -> String {
    let seconds = passed.as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_they_must() {
        let rows = [
            ["a".to_owned(), "longer".to_owned()],
            ["bcd".to_owned(), String::new()],
        ];
        assert_eq!(table(["X", "NAME"], &rows), "X    NAME\na    longer\nbcd\n");
    }

    #[test]
    fn ages() {
        let age = |seconds| super::age(Duration::from_secs(seconds));
        assert_eq!(
            [age(0), age(59), age(60), age(7199), age(86_400), age(900_000)],
            ["0s", "59s", "1m", "1h", "1d", "10d"]
        );
    }
}
