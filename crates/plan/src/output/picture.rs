//! A plan as a picture (SVG): what a volume is on the left, what the apps see of it on the right. Nothing has to be
//! installed to look at it; the graph of all units is `graph`'s.
//!
//! ```text
//! over virtiofs                         web.service
//! ┌─────────────┐                       ┌───────────────────────┐
//! │ site        ├──────────────────────>│ /srv/www              │   a frame holds the boxes of one kind or one app,
//! └─────────────┘                       └───────────────────────┘   mounts from top to bottom in the order of mounting,
//! in the guest                            ┌─────────────────────┐   those within another's place indented
//! ┌─────────────┐            ┌ ─ ─ ─ ─ ─ >│ /srv/www/upload     │
//! │ upload      ├─ ─ ─ ─ ─ ─ ┘            └─────────────────────┘   dashed: the app may not write
//! └─────────────┘
//! ```

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::path::Path;

use crate::output::document::{App, Document, ReadOnly, TextOrHex, Volume};
use crate::output::explain::{self, Index};
use crate::quoted;

const MARGIN: usize = 20;
const VOLUME_WIDTH: usize = 290;
const APP_WIDTH: usize = 400;
/// Between the columns: the arrows' room.
const ARROWS_WIDTH: usize = 190;
const BOX_HEIGHT: usize = 42;
/// A frame's part above its first box.
const HEAD_HEIGHT: usize = 46;
/// Between boxes, and between a box and its frame.
const PAD: usize = 10;
/// Between frames.
const FRAME_GAP: usize = 20;
/// How far a mount within another one's place is moved to the right, and how often at most.
const INDENT: usize = 18;
const MAX_DEPTH: usize = 8;
/// The width of a character of the first and of the second line, in tenths of a pixel: more than most, for fonts differ.
const TITLE_TENTHS: usize = 78;
const DETAIL_TENTHS: usize = 66;

/// What is drawn: frames with boxes, in two columns, and arrows from boxes of the first to boxes of the second.
struct Frame {
    title: String,
    detail: String,
    class: &'static str,
    boxes: Vec<Item>,
}

struct Item {
    title: String,
    detail: String,
    /// The whole of it, shown when the pointer rests on the box.
    tip: String,
    class: &'static str,
    depth: usize,
    /// The volume's name, at both ends of an arrow.
    volume: String,
}

/// The plan, drawn.
#[must_use]
pub fn svg(plan: &Document) -> String {
    let index = Index::of(plan);
    let apps: Vec<Frame> = plan.apps.iter().map(|app| app_frame(app, &index)).collect();
    let volumes = volume_frames(plan);
    let app_x = if volumes.is_empty() {
        MARGIN
    } else {
        MARGIN + VOLUME_WIDTH + ARROWS_WIDTH
    };
    let mut body = String::new();
    let (sources, left) = column(&mut body, &volumes, MARGIN, VOLUME_WIDTH);
    let (targets, right) = column(&mut body, &apps, app_x, APP_WIDTH);
    let starts: HashMap<&str, (usize, usize)> = sources
        .iter()
        .map(|(item, [x, y, width])| (item.volume.as_str(), (x + width, y + BOX_HEIGHT / 2)))
        .collect();
    for (item, [x, y, _]) in &targets {
        if let Some(start) = starts.get(item.volume.as_str()) {
            arrow(&mut body, *start, (*x, y + BOX_HEIGHT / 2), item.class);
        }
    }
    let (width, height) = (app_x + APP_WIDTH + MARGIN, left.max(right) + MARGIN);
    let legend = height - MARGIN / 2;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"13\">\n{STYLE}{body}\
         <text class=\"detail\" x=\"{MARGIN}\" y=\"{legend}\">dashed: the app may not write</text>\n</svg>\n"
    )
}

const STYLE: &str = "<style>\
.paper{fill:#fff}.frame{fill:#f6f8fa;stroke:#d0d7de}.app .frame{fill:#e9f5ea;stroke:#2f6f3a;stroke-width:2}\
.share .frame{fill:#eef4fb;stroke:#9ab8d8}.box{fill:#fff;stroke:#57606a}.ro .box{stroke-dasharray:5 3}\
text{fill:#1f2328}.head{font-weight:bold}.detail{fill:#57606a;font-size:11px}\
.arrow{fill:none;stroke:#57606a;stroke-width:1.2}.arrow.ro{stroke-dasharray:5 3}</style>\n\
<defs><marker id=\"head\" viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" markerWidth=\"8\" markerHeight=\"8\" orient=\"auto\">\
<path d=\"M0,0 L8,4 L0,8 z\" style=\"fill:#57606a\"/></marker></defs>\n\
<rect class=\"paper\" width=\"100%\" height=\"100%\"/>\n";

/// The volumes in the order in which apps first mount them, by what carries them.
fn volume_frames(plan: &Document) -> Vec<Frame> {
    let by_name: HashMap<&str, &Volume> = plan
        .volumes
        .iter()
        .map(|volume| (volume.name.as_str(), volume))
        .collect();
    let mut seen: HashSet<&str> = HashSet::new();
    let mounted = plan
        .apps
        .iter()
        .flat_map(|app| &app.mounts)
        .map(|mount| mount.volume.as_str());
    let (mut shared, mut guests, mut unused) = (Vec::new(), Vec::new(), Vec::new());
    for volume in mounted
        .filter(|name| seen.insert(name))
        .filter_map(|name| by_name.get(name))
    {
        if volume.transport.is_some() {
            &mut shared
        } else {
            &mut guests
        }
        .push(volume_item(volume));
    }
    unused.extend(
        plan.volumes
            .iter()
            .filter(|v| !seen.contains(v.name.as_str()))
            .map(volume_item),
    );
    let transport = plan
        .volumes
        .iter()
        .find_map(|volume| volume.transport.as_deref())
        .unwrap_or_default();
    let frame = |title: &str, detail: &str, class, boxes| Frame {
        title: title.into(),
        detail: detail.into(),
        class,
        boxes,
    };
    [
        frame(
            "on the host",
            &format!("shared over {transport}"),
            "share",
            shared,
        ),
        frame("in the guest", "gone with the pod", "guest", guests),
        frame("mounted by no app", "", "guest", unused),
    ]
    .into_iter()
    .filter(|frame| !frame.boxes.is_empty())
    .collect()
}

fn volume_item(volume: &Volume) -> Item {
    let detail = explain::contents(volume);
    Item {
        title: volume.name.clone(),
        tip: format!("volume {}\n{detail}", volume.name),
        detail,
        class: "volume",
        depth: 0,
        volume: volume.name.clone(),
    }
}

fn app_frame(app: &App, index: &Index<'_>) -> Frame {
    let mut depths: HashMap<&Path, usize> = HashMap::new();
    let mut boxes = Vec::with_capacity(app.mounts.len());
    for mount in &app.mounts {
        // A place is text: systemd reads it.
        let TextOrHex::String(place) = &mount.place else {
            continue;
        };
        let above = Path::new(place)
            .ancestors()
            .skip(1)
            .find_map(|above| depths.get(above));
        let depth = above.map_or(0, |depth| depth + 1);
        depths.insert(Path::new(place), depth);
        let (title, access) = (explain::path(&mount.place), index.access(mount));
        let part = mount
            .sub_path
            .as_ref()
            .map(|path| format!("{} of it, ", explain::path(path)))
            .unwrap_or_default();
        let detail = format!("{part}{access}");
        boxes.push(Item {
            tip: format!("{title}\nvolume {}, {detail}\n{}", mount.volume, mount.unit),
            title,
            detail,
            class: if mount.read_only == ReadOnly::No {
                "rw"
            } else {
                "ro"
            },
            depth: depth.min(MAX_DEPTH),
            volume: mount.volume.clone(),
        });
    }
    let detail = app
        .process
        .as_ref()
        .map(|process| quoted::command(&process.argv))
        .unwrap_or_default();
    Frame {
        title: app.unit.clone(),
        detail,
        class: "app",
        boxes,
    }
}

/// Draws frames below each other. Returns each box with its left, top and width, and where the column ends.
fn column<'a>(
    out: &mut String,
    frames: &'a [Frame],
    x: usize,
    width: usize,
) -> (Vec<(&'a Item, [usize; 3])>, usize) {
    let mut places = Vec::new();
    let mut y = MARGIN;
    for frame in frames {
        let height = HEAD_HEIGHT + frame.boxes.len() * (BOX_HEIGHT + PAD);
        let _ = writeln!(
            out,
            "<g class=\"{}\"><title>{}</title><rect class=\"frame\" x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" \
             rx=\"6\"/>{}</g>",
            frame.class,
            xml(&format!("{}\n{}", frame.title, frame.detail)),
            lines(x + PAD, y, width - 2 * PAD, "head", &frame.title, &frame.detail),
        );
        for (i, item) in frame.boxes.iter().enumerate() {
            let left = x + PAD + item.depth * INDENT;
            let top = y + HEAD_HEIGHT + i * (BOX_HEIGHT + PAD);
            let inner = width - 2 * PAD - item.depth * INDENT;
            let _ = writeln!(
                out,
                "<g class=\"{}\"><title>{}</title><rect class=\"box\" x=\"{left}\" y=\"{top}\" width=\"{inner}\" \
                 height=\"{BOX_HEIGHT}\" rx=\"4\"/>{}</g>",
                item.class,
                xml(&item.tip),
                lines(
                    left + PAD,
                    top,
                    inner - 2 * PAD,
                    "title",
                    &item.title,
                    &item.detail
                ),
            );
            places.push((item, [left, top, inner]));
        }
        y += height + FRAME_GAP;
    }
    (places, y)
}

/// Two lines of text below `y`, as much of each as `width` shows.
fn lines(x: usize, y: usize, width: usize, class: &str, title: &str, detail: &str) -> String {
    format!(
        "<text class=\"{class}\" x=\"{x}\" y=\"{}\">{}</text><text class=\"detail\" x=\"{x}\" y=\"{}\">{}</text>",
        y + 18,
        xml(&short(title, width * 10 / TITLE_TENTHS)),
        y + 34,
        xml(&short(detail, width * 10 / DETAIL_TENTHS)),
    )
}

fn arrow(out: &mut String, (x1, y1): (usize, usize), (x2, y2): (usize, usize), class: &str) {
    let bend = ARROWS_WIDTH / 2;
    let _ = writeln!(
        out,
        "<path class=\"arrow {class}\" marker-end=\"url(#head)\" d=\"M{x1},{y1} C{},{y1} {},{y2} {x2},{y2}\"/>",
        x1 + bend,
        x2 - bend,
    );
}

/// At most `most` columns of a text: what distinguishes long paths is at their ends, so the middle goes.
fn short(text: &str, most: usize) -> String {
    // Ideographs and what else is as wide; a few narrow ones count double, which only cuts earlier.
    let wide = |c: &char| if u32::from(*c) >= 0x1100 { 2 } else { 1 };
    if text.chars().map(|c| wide(&c)).sum::<usize>() <= most {
        return text.to_owned();
    }
    let fitting = |limit: usize| {
        let mut used = 0;
        move |c: &char| {
            used += wide(c);
            used <= limit
        }
    };
    let head: String = text.chars().take_while(fitting(most / 3)).collect();
    let tail: Vec<char> = text
        .chars()
        .rev()
        .take_while(fitting(most - most / 3 - 1))
        .collect();
    format!("{head}…{}", tail.into_iter().rev().collect::<String>())
}

/// TextOrHex for XML: what its markup takes is escaped, and what it cannot hold at all (XML 1.0, `Char`) replaced.
fn xml(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            c if c < ' ' && c != '\n' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_lose_their_middle() {
        assert_eq!(short("/srv/data", 9), "/srv/data");
        assert_eq!(short("/srv/some/long/data", 12), "/srv…ng/data");
        assert_eq!(short("日本日本日本日本", 12), "日本…本日本");
    }

    #[test]
    fn nothing_breaks_the_markup() {
        assert_eq!(
            xml("<a b=\"&\">\u{1}\u{ffff}"),
            "&lt;a b=&quot;&amp;&quot;&gt;\u{fffd}\u{fffd}"
        );
    }
}
