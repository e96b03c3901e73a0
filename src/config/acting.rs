//! Acting on a failed boot of a Shielded VM: what may be done, to which VMs, how often.

use super::state::{STATE_URL, StateConfig, StateUrl};
use super::{Area, Env, Setting};

/// What is done about a failed boot.
pub static INTEGRITY_ACTION: Setting = Setting {
    name: "INTEGRITY_ACTION",
    aliases: &[],
    default: Some("report"),
    example: "relearn-or-report",
    secret: false,
    doc: "What is done about a failed boot integrity check beside the finding: report (nothing), relearn-or-report, relearn-or-stop, stop, or suspend. Relearning needs a known-good baseline that covers every register of a late report. The other modes than report can take machines down: start with INTEGRITY_DRY_RUN=true, and read docs/integrity.md.",
};

/// Say, do not do.
pub static INTEGRITY_DRY_RUN: Setting = Setting {
    name: "INTEGRITY_DRY_RUN",
    aliases: &[],
    default: Some("false"),
    example: "true",
    secret: false,
    doc: "Confirm and decide as INTEGRITY_ACTION says, write what would have been done into the journal and the finding, and change nothing. Has caps of its own.",
};

/// How many an hour.
pub static INTEGRITY_ACTIONS_PER_HOUR: Setting = Setting {
    name: "INTEGRITY_ACTIONS_PER_HOUR",
    aliases: &[],
    default: Some("10"),
    example: "10",
    secret: false,
    doc: "How many VMs are acted on within any hour, by all replicas together. What is beyond is refused, not postponed. 1 to 10000.",
};

/// How many an hour in one project.
pub static INTEGRITY_ACTIONS_PER_PROJECT_HOUR: Setting = Setting {
    name: "INTEGRITY_ACTIONS_PER_PROJECT_HOUR",
    aliases: &[],
    default: Some("5"),
    example: "5",
    secret: false,
    doc: "The same for the VMs of one project. 1 to 10000.",
};

/// How many in all.
pub static INTEGRITY_ACTIONS_OVERALL: Setting = Setting {
    name: "INTEGRITY_ACTIONS_OVERALL",
    aliases: &[],
    default: Some("100"),
    example: "100",
    secret: false,
    doc: "How many VMs are acted on in all, until somebody runs `sysdig-scc integrity actions --reset-caps`. 1 to 1000000.",
};

/// Which VMs are never acted on.
pub static INTEGRITY_EXEMPT_LABEL: Setting = Setting {
    name: "INTEGRITY_EXEMPT_LABEL",
    aliases: &[],
    default: Some("sysdig-scc-exempt"),
    example: "sysdig-scc-exempt",
    secret: false,
    doc: "VMs with this label are never acted on, only reported: KEY (whatever its value) or KEY=VALUE.",
};

/// Whether members of groups are acted on.
pub static INTEGRITY_ACT_ON_GROUPS: Setting = Setting {
    name: "INTEGRITY_ACT_ON_GROUPS",
    aliases: &[],
    default: Some("false"),
    example: "false",
    secret: false,
    doc: "Act on members of managed instance groups and on GKE nodes too. Costs: their group repairs or replaces what was stopped, and the evidence is gone.",
};

/// Snapshots before stopping.
pub static INTEGRITY_SNAPSHOT_FIRST: Setting = Setting {
    name: "INTEGRITY_SNAPSHOT_FIRST",
    aliases: &[],
    default: Some("false"),
    example: "true",
    secret: false,
    doc: "Make a snapshot of every persistent disk before a VM is stopped or suspended. When one cannot be made, the VM is left running.",
};

/// Whether local SSDs may be lost.
pub static INTEGRITY_DISCARD_LOCAL_SSD: Setting = Setting {
    name: "INTEGRITY_DISCARD_LOCAL_SSD",
    aliases: &[],
    default: Some("false"),
    example: "false",
    secret: false,
    doc: "Stop or suspend VMs with local SSDs too. Costs: what is on the local SSDs is lost, and cannot be in a snapshot. Without it such VMs are left running.",
};

/// Whether an empty collection stops VMs.
pub static INTEGRITY_STOP_WITHOUT_BASELINES: Setting = Setting {
    name: "INTEGRITY_STOP_WITHOUT_BASELINES",
    aliases: &[],
    default: Some("false"),
    example: "false",
    secret: false,
    doc: "With relearn-or-stop, stop failing VMs also while there is not one usable known-good baseline. Costs: a collection that was emptied or never filled stops every VM that fails.",
};

/// The settings of this area.
pub static AREA: Area = Area {
    title: "Acting on failed boots",
    settings: &[
        &INTEGRITY_ACTION,
        &INTEGRITY_DRY_RUN,
        &INTEGRITY_ACTIONS_PER_HOUR,
        &INTEGRITY_ACTIONS_PER_PROJECT_HOUR,
        &INTEGRITY_ACTIONS_OVERALL,
        &INTEGRITY_EXEMPT_LABEL,
        &INTEGRITY_ACT_ON_GROUPS,
        &INTEGRITY_SNAPSHOT_FIRST,
        &INTEGRITY_DISCARD_LOCAL_SSD,
        &INTEGRITY_STOP_WITHOUT_BASELINES,
    ],
};

/// What is done about a failed boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Nothing beside the finding.
    Report,
    /// Relearn what is known to be good; report the rest.
    RelearnOrReport,
    /// Relearn what is known to be good; stop the rest.
    RelearnOrStop,
    /// Stop.
    Stop,
    /// Suspend.
    Suspend,
}

impl Mode {
    /// All of them, the harmless first.
    pub const ALL: [Self; 5] = [Self::Report, Self::RelearnOrReport, Self::RelearnOrStop, Self::Stop, Self::Suspend];

    /// As the setting has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Report => "report",
            Self::RelearnOrReport => "relearn-or-report",
            Self::RelearnOrStop => "relearn-or-stop",
            Self::Stop => "stop",
            Self::Suspend => "suspend",
        }
    }

    /// The mode of this name; case and kind of dash do not matter.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim().to_ascii_lowercase().replace('_', "-");
        Self::ALL.into_iter().find(|mode| mode.name() == text)
    }
}

/// How often may be acted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Within any hour.
    pub hour: usize,
    /// Within any hour, in one project.
    pub project_hour: usize,
    /// Until the count is reset.
    pub overall: u64,
}

/// A label that exempts a VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// Its key.
    pub key: String,
    /// Its value; any when absent.
    pub value: Option<String>,
}

/// As gcloud takes it; where any value will do, `true`.
impl std::fmt::Display for Label {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}={}", self.key, self.value.as_deref().unwrap_or("true"))
    }
}

/// The rules of acting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActingConfig {
    /// What is done.
    pub mode: Mode,
    /// Say, do not do.
    pub dry_run: bool,
    /// How often.
    pub limits: Limits,
    /// The label that exempts.
    pub exempt: Label,
    /// Members of groups and GKE nodes too.
    pub groups: bool,
    /// Snapshots first.
    pub snapshot_first: bool,
    /// Local SSDs may be lost.
    pub discard_local_ssd: bool,
    /// Stop although there is no usable baseline.
    pub stop_without_baselines: bool,
}

impl Default for ActingConfig {
    fn default() -> Self {
        Self {
            mode: Mode::Report,
            dry_run: false,
            limits: Limits { hour: 10, project_hour: 5, overall: 100 },
            exempt: Label { key: "sysdig-scc-exempt".to_owned(), value: None },
            groups: false,
            snapshot_first: false,
            discard_local_ssd: false,
            stop_without_baselines: false,
        }
    }
}

impl ActingConfig {
    /// Reads the area; problems stay in `env`.
    pub fn read(env: &mut Env) -> Option<Self> {
        let mode = mode(env);
        let dry_run = env.flag(&INTEGRITY_DRY_RUN);
        let hour = env.number(&INTEGRITY_ACTIONS_PER_HOUR, 1..=10_000);
        let project_hour = env.number(&INTEGRITY_ACTIONS_PER_PROJECT_HOUR, 1..=10_000);
        let overall = env.number(&INTEGRITY_ACTIONS_OVERALL, 1..=1_000_000);
        let exempt = label(env);
        let groups = env.flag(&INTEGRITY_ACT_ON_GROUPS);
        let snapshot_first = env.flag(&INTEGRITY_SNAPSHOT_FIRST);
        let discard_local_ssd = env.flag(&INTEGRITY_DISCARD_LOCAL_SSD);
        let stop_without_baselines = env.flag(&INTEGRITY_STOP_WITHOUT_BASELINES);
        let count = |number: u64| usize::try_from(number).ok();
        Some(Self {
            mode: mode?,
            dry_run: dry_run?,
            limits: Limits { hour: count(hour?)?, project_hour: count(project_hour?)?, overall: overall? },
            exempt: exempt?,
            groups: groups?,
            snapshot_first: snapshot_first?,
            discard_local_ssd: discard_local_ssd?,
            stop_without_baselines: stop_without_baselines?,
        })
    }

    /// Whether anything may be changed.
    pub fn acts(&self) -> bool {
        self.mode != Mode::Report && !self.dry_run
    }

    /// The permissions that this needs on the VMs' projects: to look always, to change only what may be changed.
    pub fn permissions(&self) -> Vec<&'static str> {
        if self.mode == Mode::Report {
            return Vec::new();
        }
        let mut needed = vec!["compute.instances.get", "compute.instances.list"];
        if self.dry_run {
            return needed;
        }
        needed.push("compute.zoneOperations.get");
        needed.extend(match self.mode {
            Mode::Report => &[][..],
            Mode::RelearnOrReport => &["compute.instances.setShieldedInstanceIntegrityPolicy"],
            Mode::RelearnOrStop => &["compute.instances.setShieldedInstanceIntegrityPolicy", "compute.instances.stop"],
            Mode::Stop => &["compute.instances.stop"],
            Mode::Suspend => &["compute.instances.suspend"],
        });
        if self.snapshot_first && self.mode != Mode::RelearnOrReport {
            needed.extend([
                "compute.disks.createSnapshot",
                "compute.snapshots.create",
                "compute.snapshots.get",
                "compute.regionOperations.get",
            ]);
        }
        needed
    }

    /// Caps and journal must outlive the process.
    pub fn require_durable_state(&self, env: &mut Env, state: &StateConfig) {
        if self.acts() && state.url == StateUrl::Memory {
            env.problem(
                STATE_URL.name,
                "is lost at the end of the process, and with it the journal and the caps that INTEGRITY_ACTION relies on",
                "use sqlite:PATH or firestore://PROJECT/DATABASE, or INTEGRITY_DRY_RUN=true",
            );
        }
    }
}

fn mode(env: &mut Env) -> Option<Mode> {
    let text = env.text(&INTEGRITY_ACTION)?;
    let mode = Mode::parse(&text);
    if mode.is_none() {
        let names = Mode::ALL.map(Mode::name).join(", ");
        env.problem(INTEGRITY_ACTION.name, &format!("is not an action: {text:?}"), &format!("use one of {names}"));
    }
    mode
}

fn label(env: &mut Env) -> Option<Label> {
    let text = env.text(&INTEGRITY_EXEMPT_LABEL)?;
    let (key, value) = match text.split_once('=') {
        Some((key, value)) => (key.trim(), Some(value.trim().to_owned())),
        None => (text.as_str(), None),
    };
    let fits = |text: &str| {
        text.chars().all(|c| {
            c.is_lowercase() || c.is_numeric() || matches!(c, '-' | '_') || (c.is_alphabetic() && !c.is_uppercase())
        })
    };
    if key.is_empty() || !fits(key) || value.as_deref().is_some_and(|value| !fits(value)) {
        env.problem(
            INTEGRITY_EXEMPT_LABEL.name,
            &format!("is no label of Compute Engine: {text:?}"),
            "write KEY or KEY=VALUE in lower-case letters, digits, - and _",
        );
        return None;
    }
    Some(Label { key: key.to_owned(), value })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> (Option<ActingConfig>, String) {
        let mut env = Env::from_pairs(pairs.iter().copied());
        let config = ActingConfig::read(&mut env);
        (config, env.finish().err().map(|problems| problems.to_string()).unwrap_or_default())
    }

    #[test]
    fn nothing_is_done_unless_told() {
        assert_eq!(read(&[]), (Some(ActingConfig::default()), String::new()));
        let (config, _) = read(&[("INTEGRITY_ACTION", "Relearn_or_Stop"), ("INTEGRITY_EXEMPT_LABEL", "env = prod")]);
        let config = config.unwrap();
        assert_eq!((config.mode, config.acts()), (Mode::RelearnOrStop, true));
        assert_eq!(config.exempt, Label { key: "env".into(), value: Some("prod".into()) });
    }

    #[test]
    fn mistakes_are_told_together() {
        let (config, problems) = read(&[
            ("INTEGRITY_ACTION", "shutdown"),
            ("INTEGRITY_DRY_RUN", "perhaps"),
            ("INTEGRITY_ACTIONS_PER_HOUR", "0"),
            ("INTEGRITY_EXEMPT_LABEL", "Prod=Yes"),
        ]);
        assert!(config.is_none());
        for name in ["INTEGRITY_ACTION", "INTEGRITY_DRY_RUN", "INTEGRITY_ACTIONS_PER_HOUR", "INTEGRITY_EXEMPT_LABEL"] {
            assert!(problems.contains(name), "{problems}");
        }
    }

    #[test]
    fn least_rights() {
        let rules = |mode, dry_run, snapshot_first| {
            ActingConfig { mode, dry_run, snapshot_first, ..ActingConfig::default() }.permissions().join(" ")
        };
        assert_eq!(rules(Mode::Report, false, true), "");
        assert_eq!(rules(Mode::Stop, true, true), "compute.instances.get compute.instances.list");
        assert!(rules(Mode::Stop, false, false).ends_with("compute.zoneOperations.get compute.instances.stop"));
        assert!(!rules(Mode::RelearnOrReport, false, true).contains("stop"));
        assert!(rules(Mode::Suspend, false, true).contains("compute.disks.createSnapshot"));
    }

    #[test]
    fn what_must_be_remembered_is_not_kept_in_memory() {
        for (action, dry, wrong) in [("stop", "false", true), ("stop", "true", false), ("report", "false", false)] {
            let pairs = [("INTEGRITY_ACTION", action), ("INTEGRITY_DRY_RUN", dry), ("STATE_URL", "sqlite::memory:")];
            let mut env = Env::from_pairs(pairs);
            let state = StateConfig::read(&mut env).unwrap();
            ActingConfig::read(&mut env).unwrap().require_durable_state(&mut env, &state);
            assert_eq!(env.has_problems(), wrong, "{action} {dry}");
        }
    }
}
