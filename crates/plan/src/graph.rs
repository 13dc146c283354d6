//! A plan as a graph: which source reaches which app through which units. For Graphviz ([`dot`]) and drawn ([`svg`]).
//!
//! ```text
//! column   0 sources   1 shares and images   2 roots   3 mounts in apps, by depth   last: apps
//! ```

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::document::{Document, Mount, Text, VolumeType};

/// A node: what it is called, what it says besides, what it is.
struct Node {
    title: String,
    detail: String,
    kind: Kind,
    column: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Source,
    Mount,
    ReadOnlyMount,
    App,
}

struct Graph {
    nodes: Vec<Node>,
    /// From, to: the second needs the first.
    edges: Vec<(usize, usize)>,
}

impl Graph {
    fn of(plan: &Document) -> Self {
        let mut graph = Graph {
            nodes: Vec::new(),
            edges: Vec::new(),
        };
        let mut units: BTreeMap<&str, usize> = BTreeMap::new();
        let mut sources: BTreeMap<String, usize> = BTreeMap::new();
        for mount in &plan.mounts {
            let before: Vec<usize> = mount
                .after
                .iter()
                .filter_map(|unit| units.get(unit.as_str()).copied())
                .collect();
            let from: Vec<usize> = source(plan, mount, before.is_empty())
                .into_iter()
                .map(|(title, detail)| {
                    *sources.entry(title.clone()).or_insert_with(|| {
                        graph.nodes.push(Node {
                            title,
                            detail,
                            kind: Kind::Source,
                            column: 0,
                        });
                        graph.nodes.len() - 1
                    })
                })
                .collect();
            let needs: Vec<usize> = from.into_iter().chain(before).collect();
            let column = needs
                .iter()
                .map(|n| graph.nodes[*n].column + 1)
                .max()
                .unwrap_or(1);
            let kind = if mount.read_only {
                Kind::ReadOnlyMount
            } else {
                Kind::Mount
            };
            let access = if mount.read_only { ", read-only" } else { "" };
            let detail = format!("{}{access}", mount.fs_type);
            graph.nodes.push(Node {
                title: mount.place.shown(),
                detail,
                kind,
                column,
            });
            let node = graph.nodes.len() - 1;
            graph.edges.extend(needs.into_iter().map(|need| (need, node)));
            units.insert(&mount.unit, node);
        }
        let last = graph.nodes.iter().map(|node| node.column + 1).max().unwrap_or(0);
        for app in &plan.apps {
            let detail = app.process.as_ref().map(|p| p.argv.join(" ")).unwrap_or_default();
            graph.nodes.push(Node {
                title: app.unit.clone(),
                detail,
                kind: Kind::App,
                column: last,
            });
            let node = graph.nodes.len() - 1;
            // A mount that another mount of the app's needs is drawn through that one.
            let of_app: Vec<&Mount> = plan
                .mounts
                .iter()
                .filter(|m| m.required_by.contains(&app.unit))
                .collect();
            let ends = of_app
                .iter()
                .filter(|m| !of_app.iter().any(|other| other.after.contains(&m.unit)));
            graph
                .edges
                .extend(ends.filter_map(|m| Some((*units.get(m.unit.as_str())?, node))));
        }
        graph
    }
}

/// What a mount brings into the guest, by title and detail: where it is a bind, the volume; otherwise what is mounted.
fn source(plan: &Document, mount: &Mount, first: bool) -> Option<(String, String)> {
    let bind = mount.options.first().is_some_and(|option| option == "bind");
    match (&mount.volume, bind) {
        (Some(name), _) => {
            let volume = plan.volumes.iter().find(|volume| volume.name == *name)?;
            let detail = match volume.kind {
                VolumeType::Empty => "empty".to_owned(),
                VolumeType::HostDirectory | VolumeType::HostFile => {
                    volume.source.as_ref().map(Text::shown).unwrap_or_default()
                }
            };
            Some((format!("volume {name}"), detail))
        }
        (None, _) if first => Some((format!("{} {}", mount.fs_type, mount.what.shown()), String::new())),
        (None, _) => None,
    }
}

/// The plan's graph in Graphviz's language.
#[must_use]
pub fn dot(plan: &Document) -> String {
    let graph = Graph::of(plan);
    let mut out =
        String::from("digraph plan {\n  rankdir=LR;\n  node [shape=box, fontname=\"sans-serif\"];\n");
    let escape = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
    for (i, node) in graph.nodes.iter().enumerate() {
        let style = match node.kind {
            Kind::Source => ", style=rounded",
            Kind::Mount => "",
            Kind::ReadOnlyMount => ", style=dashed",
            Kind::App => ", style=bold",
        };
        let _ = writeln!(
            out,
            "  n{i} [label=\"{}\\n{}\"{style}];",
            escape(&node.title),
            escape(&node.detail)
        );
    }
    for (from, to) in &graph.edges {
        let _ = writeln!(out, "  n{from} -> n{to};");
    }
    out.push_str("}\n");
    out
}

const BOX_WIDTH: usize = 250;
const BOX_HEIGHT: usize = 44;
const GAP_X: usize = 70;
const GAP_Y: usize = 16;
const MARGIN: usize = 20;
/// As many characters as a box of that width shows.
const TITLE_CHARS: usize = 34;

/// The plan's graph, drawn: columns from sources to apps, a tooltip with the whole text on every box.
#[must_use]
pub fn svg(plan: &Document) -> String {
    let graph = Graph::of(plan);
    let mut heights: BTreeMap<usize, usize> = BTreeMap::new();
    let places: Vec<(usize, usize)> = graph
        .nodes
        .iter()
        .map(|node| {
            let row = heights.entry(node.column).or_default();
            *row += 1;
            (
                MARGIN + node.column * (BOX_WIDTH + GAP_X),
                MARGIN + (*row - 1) * (BOX_HEIGHT + GAP_Y),
            )
        })
        .collect();
    let columns = heights.keys().max().map_or(1, |column| column + 1);
    let rows = heights.values().max().copied().unwrap_or(1);
    let (width, height) = (
        2 * MARGIN + columns * (BOX_WIDTH + GAP_X) - GAP_X,
        2 * MARGIN + rows * (BOX_HEIGHT + GAP_Y) - GAP_Y,
    );
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
         height=\"{height}\" font-family=\"sans-serif\" font-size=\"12\">\n{STYLE}"
    );
    for (from, to) in &graph.edges {
        let ((fx, fy), (tx, ty)) = (places[*from], places[*to]);
        let (x1, y1, x2, y2) = (fx + BOX_WIDTH, fy + BOX_HEIGHT / 2, tx, ty + BOX_HEIGHT / 2);
        let bend = GAP_X / 2;
        let _ = writeln!(
            out,
            "<path class=\"edge\" d=\"M{x1},{y1} C{},{y1} {},{y2} {x2},{y2}\"/>",
            x1 + bend,
            x2.saturating_sub(bend)
        );
    }
    for (node, (x, y)) in graph.nodes.iter().zip(places) {
        out.push_str(&draw(node, x, y));
    }
    out.push_str("</svg>\n");
    out
}

const STYLE: &str = "<style>\
rect{fill:#fff;stroke:#57606a}\
.source rect{fill:#eef4fb}.app rect{fill:#e9f5ea;stroke:#2f6f3a;stroke-width:2}.ro rect{stroke-dasharray:5 3}\
text{fill:#1f2328}.detail{fill:#57606a;font-size:11px}\
.edge{fill:none;stroke:#8c959f}</style>\n\
<rect width=\"100%\" height=\"100%\" style=\"fill:#fff;stroke:none\"/>\n";

fn draw(node: &Node, x: usize, y: usize) -> String {
    let class = match node.kind {
        Kind::Source => "source",
        Kind::Mount => "mount",
        Kind::ReadOnlyMount => "mount ro",
        Kind::App => "app",
    };
    let (title, detail) = (xml(&short(&node.title)), xml(&short(&node.detail)));
    let whole = xml(&format!("{}\n{}", node.title, node.detail));
    format!(
        "<g class=\"{class}\"><title>{whole}</title>\
         <rect x=\"{x}\" y=\"{y}\" width=\"{BOX_WIDTH}\" height=\"{BOX_HEIGHT}\" rx=\"4\"/>\
         <text x=\"{tx}\" y=\"{ty}\">{title}</text><text class=\"detail\" x=\"{tx}\" y=\"{dy}\">{detail}</text></g>\n",
        tx = x + 10,
        ty = y + 19,
        dy = y + 35,
    )
}

/// The end of a long text: what tells paths apart is at their end.
fn short(text: &str) -> String {
    let count = text.chars().count();
    if count <= TITLE_CHARS {
        return text.to_owned();
    }
    std::iter::once('…')
        .chain(text.chars().skip(count - TITLE_CHARS + 1))
        .collect()
}

fn xml(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
