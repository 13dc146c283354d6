//! A plan as a graph for Graphviz: which source reaches which app through which units. `picture` draws the same for a
//! browser, without Graphviz.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write as _;

use crate::output::document::{Document, Mount, Volume};
use crate::output::explain;
use crate::quoted;

/// A node: what it is called, what it says besides, what it is.
struct GraphNode {
    title: String,
    detail: String,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Source,
    Mount,
    ReadOnlyMount,
    App,
}

struct Graph {
    nodes: Vec<GraphNode>,
    /// From, to: the second needs the first.
    edges: Vec<(usize, usize)>,
}

impl Graph {
    fn of(plan: &Document) -> Self {
        let mut graph = Graph {
            nodes: Vec::new(),
            edges: Vec::new(),
        };
        let volumes: HashMap<&str, &Volume> = plan.volumes.iter().map(|v| (v.name.as_str(), v)).collect();
        let mut units: HashMap<&str, usize> = HashMap::new();
        let mut sources: BTreeMap<String, usize> = BTreeMap::new();
        for mount in &plan.mounts {
            let before: Vec<usize> = mount
                .after
                .iter()
                .filter_map(|unit| units.get(unit.as_str()).copied())
                .collect();
            let source = source(mount, &volumes, before.is_empty());
            let from = source.map(|(title, detail)| {
                *sources.entry(title.clone()).or_insert_with(|| {
                    graph.add(GraphNode {
                        title,
                        detail,
                        kind: Kind::Source,
                    })
                })
            });
            let kind = if mount.read_only {
                Kind::ReadOnlyMount
            } else {
                Kind::Mount
            };
            let access = if mount.read_only { ", read-only" } else { "" };
            let type_ = if is_bind(mount) { "bind" } else { &mount.fs_type };
            let detail = format!("{type_}{access}");
            let node = graph.add(GraphNode {
                title: explain::path(&mount.place),
                detail,
                kind,
            });
            graph
                .edges
                .extend(from.into_iter().chain(before).map(|need| (need, node)));
            units.insert(&mount.unit, node);
        }
        graph.add_apps(plan, &units);
        graph
    }

    fn add(&mut self, node: GraphNode) -> usize {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    /// An app needs its mounts; one that another of its mounts needs is drawn through that one.
    fn add_apps(&mut self, plan: &Document, units: &HashMap<&str, usize>) {
        let mut of_app: HashMap<&str, Vec<&Mount>> = HashMap::new();
        for mount in &plan.mounts {
            mount
                .required_by
                .iter()
                .for_each(|unit| of_app.entry(unit).or_default().push(mount));
        }
        for app in &plan.apps {
            let detail = app
                .process
                .as_ref()
                .map(|process| quoted::command(&process.argv))
                .unwrap_or_default();
            let node = self.add(GraphNode {
                title: app.unit.clone(),
                detail,
                kind: Kind::App,
            });
            let mounts = of_app.remove(app.unit.as_str()).unwrap_or_default();
            let needed: HashSet<&str> = mounts.iter().flat_map(|m| &m.after).map(String::as_str).collect();
            let ends = mounts.iter().filter(|m| !needed.contains(m.unit.as_str()));
            self.edges
                .extend(ends.filter_map(|m| Some((*units.get(m.unit.as_str())?, node))));
        }
    }
}

fn is_bind(mount: &Mount) -> bool {
    mount.options.first().is_some_and(|option| option == "bind")
}

/// What a mount brings into the guest, by title and detail: its volume, or where it has none and is the first, what is
/// mounted.
fn source(mount: &Mount, volumes: &HashMap<&str, &Volume>, first: bool) -> Option<(String, String)> {
    match &mount.volume {
        Some(name) => Some((
            format!("volume {name}"),
            explain::contents(volumes.get(name.as_str())?),
        )),
        None if first => Some((
            format!("{} {}", mount.fs_type, explain::path(&mount.what)),
            String::new(),
        )),
        None => None,
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
        let lines = [&node.title, &node.detail]
            .into_iter()
            .filter(|line| !line.is_empty());
        let label = lines.map(|line| escape(line)).collect::<Vec<_>>().join("\\n");
        let _ = writeln!(out, "  n{i} [label=\"{label}\"{style}];");
    }
    for (from, to) in &graph.edges {
        let _ = writeln!(out, "  n{from} -> n{to};");
    }
    out.push_str("}\n");
    out
}
