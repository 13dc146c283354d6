//! What has a pod as its template: Deployment, StatefulSet, DaemonSet, ReplicaSet, ReplicationController, Job, CronJob.
//!
//! Each is one pod on this host. There is no service that would share work among several, so more than one of
//! `replicas` is one pod, and a notice; 0 is none.

use super::names;
use super::objects::Named;
use super::schedule;
use crate::located::{FaultKind, Node};
use crate::words::shown;

/// The index of the one pod of an indexed job (`batch.kubernetes.io/job-completion-index`).
const INDEX: &str = "0";

/// How often a job's containers are restarted where it does not say so.
const BACKOFF_LIMIT: u32 = 6;

/// A pod of the files: the Pod, or the template that it is made of and what the object around that says.
pub(super) struct Template<'a> {
    /// What has the pod's `metadata` and `spec`.
    pub(super) node: Node<'a>,
    /// The metadata of the object itself, which has its name and namespace.
    pub(super) metadata: Option<Node<'a>>,
    /// The pod's name, where it is not the object's.
    pub(super) name: Option<String>,
    /// The name of its host, where neither the pod says it nor the pod's name is it.
    pub(super) hostname: Option<String>,
    /// Labels beside those of the template.
    pub(super) labels: Vec<(&'static str, String)>,
    /// Annotations beside those of the template.
    pub(super) annotations: Vec<(&'static str, String)>,
    /// Variables of every container that does not have them.
    pub(super) env: Vec<(&'static str, String)>,
    /// The claims that take the place of the volumes of a name: volume, claim.
    pub(super) claims: Vec<(&'a str, String)>,
    /// How often a container may be restarted after a failure; `None`: always.
    pub(super) max_retries: Option<u32>,
    /// `activeDeadlineSeconds` of the object.
    pub(super) deadline: Option<Node<'a>>,
}

impl<'a> Template<'a> {
    pub(super) fn of_pod(node: &Node<'a>) -> Self {
        Self {
            node: node.clone(),
            metadata: node.get("metadata"),
            name: None,
            hostname: None,
            labels: Vec::new(),
            annotations: Vec::new(),
            env: Vec::new(),
            claims: Vec::new(),
            max_retries: None,
            deadline: None,
        }
    }
}

/// Reads the object `node` of the kind `kind`, whose form was checked: its pod, and the claims that it makes. `None`
/// where it has no pod.
pub(super) fn read<'a>(node: &Node<'a>, kind: &'static str) -> Option<(Template<'a>, Vec<Named<'a>>)> {
    let metadata = node.get("metadata");
    if let Some(metadata) = metadata.as_ref().filter(|node| node.text("name").is_none())
        && metadata.text("generateName").is_none()
    {
        metadata.missing("name");
    }
    let spec = node.get("spec");
    let job = match kind {
        "CronJob" => {
            let spec = spec.as_ref()?;
            // Where its schedule stands.
            let place = spec.get("schedule").unwrap_or_else(|| spec.clone());
            place.fault(FaultKind::Notice(
                "the job of a CronJob is run once, now: a timer of the host's systemd can run it regularly"
                    .to_owned(),
            ));
            check_length(node, 52);
            check_schedule(spec);
            spec.get("jobTemplate")?.get("spec")
        }
        _ => spec,
    };
    let Some(spec) = job else {
        node.missing("spec");
        return None;
    };
    let Some(template) = spec.get("template") else {
        spec.missing("template");
        return None;
    };
    if let Some(metadata) = template.get("metadata") {
        names::check_metadata(&metadata, names::dns_subdomain);
    }
    let is_job = matches!(kind, "Job" | "CronJob");
    let mut read = Template {
        metadata,
        ..Template::of_pod(&template)
    };
    check_restart(&template, kind, is_job);
    let claims = match kind {
        _ if is_job => {
            read_job(&spec, node, &mut read);
            Vec::new()
        }
        "StatefulSet" => {
            check_selector(&spec, &template);
            read_stateful_set(&spec, node, &mut read)
        }
        _ => {
            check_selector(&spec, &template);
            check_strategy(&spec);
            Vec::new()
        }
    };
    has_pod(&spec, is_job).then_some((read, claims))
}

/// Whether there is a pod at all; that there is only one is noted.
fn has_pod(spec: &Node<'_>, is_job: bool) -> bool {
    const COUNT: &str = "a number of pods";
    if is_job && spec.is_true("suspend") {
        let node = spec.get("suspend").unwrap_or_else(|| spec.clone());
        node.fault(FaultKind::Notice(
            "the job is suspended, and no pod is run".to_owned(),
        ));
        return false;
    }
    let fields: &[&str] = match is_job {
        true => &["parallelism", "completions"],
        false => &["replicas"],
    };
    let mut noted = false;
    for field in fields {
        let Some(count) = spec.number::<u32>(field, COUNT) else {
            continue;
        };
        let node = spec.get(field).unwrap_or_else(|| spec.clone());
        match count {
            0 => {
                node.fault(FaultKind::Notice(
                    "0 replicas are asked for, and no pod is run".to_owned(),
                ));
                return false;
            }
            1 => {}
            _ if !noted => {
                noted = true;
                node.fault(FaultKind::Notice(format!(
                    "one pod is run instead of {count}: nothing here shares work among several"
                )));
            }
            _ => {}
        }
    }
    true
}

/// What the API refuses of a Deployment's strategy.
fn check_strategy(spec: &Node<'_>) {
    if let Some(strategy) = spec.get("strategy")
        && strategy.text("type").is_some_and(|(_, kind)| kind == "Recreate")
        && let Some(node) = strategy.get("rollingUpdate")
    {
        node.rule("it goes with the type `RollingUpdate`");
    }
}

/// What the API refuses of a CronJob's schedule. Nothing else is done with it.
fn check_schedule(spec: &Node<'_>) {
    if let Some((node, schedule)) = spec.text("schedule")
        && let Err(wrong) = schedule::check(schedule)
    {
        node.rule(format!("`{}` is not a valid schedule: {wrong}", shown(schedule)));
    }
}

/// What a job says of its pod.
fn read_job<'a>(spec: &Node<'a>, node: &Node<'a>, read: &mut Template<'a>) {
    const COUNT: &str = "a number of times";
    check_length(node, 63);
    read.max_retries = Some(spec.number("backoffLimit", COUNT).unwrap_or(BACKOFF_LIMIT));
    read.deadline = spec.get("activeDeadlineSeconds");
    if let Some((_, name)) = read.metadata.as_ref().and_then(|metadata| metadata.text("name")) {
        read.labels = vec![
            ("batch.kubernetes.io/job-name", name.to_owned()),
            ("job-name", name.to_owned()),
        ];
    }
    match spec.text("completionMode") {
        None | Some((_, "NonIndexed")) => {}
        Some((_, "Indexed")) => {
            let index = "batch.kubernetes.io/job-completion-index";
            read.labels.push((index, INDEX.to_owned()));
            read.annotations.push((index, INDEX.to_owned()));
            read.env.push(("JOB_COMPLETION_INDEX", INDEX.to_owned()));
            if spec.get("completions").is_none() {
                spec.missing("completions");
            }
            let name = read.metadata.as_ref().and_then(|metadata| metadata.text("name"));
            read.hostname = name.map(|(_, name)| format!("{name}-{INDEX}"));
        }
        Some((node, other)) => node.reject(other, "`NonIndexed` or `Indexed`"),
    }
}

/// What a StatefulSet says of its first pod, and the claims that it makes for that.
fn read_stateful_set<'a>(spec: &Node<'a>, node: &Node<'a>, read: &mut Template<'a>) -> Vec<Named<'a>> {
    let start = spec
        .get("ordinals")
        .and_then(|node| node.number::<u32>("start", "a number"));
    let number = start.unwrap_or_default();
    let name = node.get("metadata").and_then(|node| Some(node.text("name")?.1));
    let Some(name) = name.map(|name| format!("{name}-{number}")) else {
        return Vec::new();
    };
    read.labels = vec![
        ("statefulset.kubernetes.io/pod-name", name.clone()),
        ("apps.kubernetes.io/pod-index", number.to_string()),
    ];
    let mut claims = Vec::new();
    for node in spec.items("volumeClaimTemplates") {
        let Some((_, template)) = node.get("metadata").and_then(|node| node.text("name")) else {
            node.get("metadata")
                .unwrap_or_else(|| node.clone())
                .missing("name");
            continue;
        };
        let claim = format!("{template}-{name}");
        read.claims.push((template, claim.clone()));
        claims.push(Named { name: claim, node });
    }
    read.name = Some(name);
    claims
}

/// A name that ends up in a label, or before a number.
fn check_length(node: &Node<'_>, most: usize) {
    if let Some((node, name)) = node.get("metadata").and_then(|node| node.text("name"))
        && name.len() > most
    {
        node.rule(format!("the name is longer than {most} bytes"));
    }
}

/// What the API refuses of a template's `restartPolicy` and deadline.
fn check_restart(template: &Node<'_>, kind: &str, is_job: bool) {
    let Some(spec) = template.get("spec") else { return };
    let policy = spec.text("restartPolicy").map(|(_, policy)| policy);
    if is_job {
        if matches!(policy, None | Some("Always")) {
            let node = spec.get("restartPolicy").unwrap_or(spec);
            node.rule(format!(
                "the pod of a {kind} needs `restartPolicy: OnFailure` or `Never`"
            ));
        }
        return;
    }
    if policy.is_some_and(|policy| policy != "Always")
        && let Some(node) = spec.get("restartPolicy")
    {
        node.rule(format!("the `restartPolicy` of a {kind}'s pod must be `Always`"));
    }
    if let Some(node) = spec.get("activeDeadlineSeconds") {
        node.rule(format!("the pod of a {kind} has no deadline"));
    }
}

/// What the API refuses of a `selector`: one that selects nothing in particular, or not the template's pods.
fn check_selector(spec: &Node<'_>, template: &Node<'_>) {
    let Some(selector) = spec.get("selector") else {
        return;
    };
    let metadata = template.get("metadata");
    let labels = metadata.map(|node| node.entries("labels")).unwrap_or_default();
    let label = |key: &str| {
        let found = labels.iter().find(|(other, _)| *other == key);
        found.and_then(|(_, value)| value.as_text())
    };
    // A ReplicationController has the labels themselves.
    let is_map = selector.get("matchLabels").is_none() && selector.get("matchExpressions").is_none();
    let wanted = match is_map {
        true => spec.entries("selector"),
        false => selector.entries("matchLabels"),
    };
    let expressions = selector.items("matchExpressions");
    if wanted.is_empty() && expressions.is_empty() {
        return selector.rule("an empty selector selects every pod");
    }
    for (key, value) in wanted {
        if value.as_text().is_some_and(|wanted| label(key) != Some(wanted)) {
            value.rule(format!(
                "the selector does not match the template's label `{}`",
                shown(key)
            ));
        }
    }
    for node in expressions {
        let (Some((_, key)), Some((operator_node, operator))) = (node.text("key"), node.text("operator"))
        else {
            continue;
        };
        let values = node.texts("values").unwrap_or_default();
        let is_among = label(key).is_some_and(|label| values.contains(&label));
        let matches = match operator {
            "In" => is_among,
            "NotIn" => !is_among,
            "Exists" => label(key).is_some(),
            "DoesNotExist" => label(key).is_none(),
            other => {
                operator_node.reject(other, "`In`, `NotIn`, `Exists` or `DoesNotExist`");
                continue;
            }
        };
        if !matches {
            node.rule(format!(
                "the selector does not match the template's label `{}`",
                shown(key)
            ));
        }
    }
}
