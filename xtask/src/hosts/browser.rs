//! What `isopod boot-report` writes, as Chromium shows it.

use std::fs;
use std::path::Path;

use crate::command::{self, command};
use crate::failure::Failure;

/// Says in the page's title what its layout has come to: rows, bars that are not within their tracks or not to be seen, and whether
/// the page is wider than the window.
const MEASURE: &str = "<script>
const bars = [...document.querySelectorAll('.bar')];
const wrong = bars.filter(bar => {
  const [inner, outer] = [bar.getBoundingClientRect(), bar.parentElement.getBoundingClientRect()];
  return inner.width <= 0 || inner.height < 2 || inner.left < outer.left - 1 || inner.right > outer.right + 1;
});
const wide = document.documentElement.scrollWidth > window.innerWidth;
document.title = `rows ${bars.length} wrong ${wrong.length} wide ${wide}`;
</script>";

/// Shows the page at `report`, in a wide window and in a narrow one; a telephone is shown no bars.
///
/// # Errors
/// [`Failure`] where a bar is not to be seen in its place, or the page is wider than the window.
pub(super) fn shows(report: &Path) -> Result<String, Failure> {
    let failed = |error| Failure::new(format!("cannot read `{}`", report.display())).caused_by(error);
    let page = fs::read_to_string(report).map_err(failed)?;
    let measured = report.with_extension("measured.html");
    fs::write(&measured, page + MEASURE).map_err(failed)?;
    let mut found = Vec::new();
    for size in ["1280,800", "700,800"] {
        let mut chromium = command(
            "chromium",
            [
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--dump-dom",
                &format!("--window-size={size}"),
            ],
        );
        let address = format!("file://{}", measured.display());
        let text = command::quiet(chromium.arg(&address))
            .ok_or_else(|| Failure::new("`chromium` failed").hint(command::shown(&chromium)))?;
        let title = text
            .split_once("<title>")
            .and_then(|(_, rest)| rest.split_once("</title>"));
        let title = title.map(|(title, _)| title.to_owned()).unwrap_or_default();
        if !is_right(&title) {
            return Err(Failure::new(format!(
                "the page of `isopod boot-report` is shown wrongly at {size}: {title}"
            ))
            .hint(format!("see `{}`", report.display())));
        }
        found.push(format!("{size}: {title}"));
    }
    Ok(found.join("; "))
}

/// Several rows, all to be seen.
fn is_right(title: &str) -> bool {
    let words: Vec<&str> = title.split(' ').collect();
    match words[..] {
        ["rows", rows, "wrong", "0", "wide", "false"] => rows.parse::<u32>().is_ok_and(|rows| rows >= 5),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_with_few_or_hidden_bars_is_not_right() {
        assert!(is_right("rows 11 wrong 0 wide false"));
        for title in [
            "",
            "Start of pod a",
            "rows 2 wrong 0 wide false",
            "rows 11 wrong 1 wide false",
            "rows 11 wrong 0 wide true",
        ] {
            assert!(!is_right(title), "{title}");
        }
    }
}
