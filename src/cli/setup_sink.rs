//! `setup sink`: all that brings Shielded VM integrity entries to the connector. Looked at first; what cannot be is said
//! before anything is changed. The subscription comes before the sink, so that no entry is written past it.

use anyhow::{Context, bail};
use clap::Args;
use url::Url;

use super::out::{note, say};
use super::probe::google::{Asked, remedy};
use super::setup_sink_plan::{Differences, Push, Wanted, differences, filter, sink_changes};
use crate::calls::{is_loopback, may_carry_a_token};
use crate::causes::chain;
use crate::config::Env;
use crate::config::enrich::RESOURCE_MANAGER_ENDPOINT;
use crate::config::google::{Account, GoogleConfig};
use crate::config::pubsub::PubsubConfig;
use crate::config::secrets::environment;
use crate::google::http::{Client as Http, HttpSettings};
use crate::google::logging::{self, Sink};
use crate::google::pubsub::{Client, Subscription};
use crate::google::resource_manager::ResourceManager;
use crate::google::{ApiError, TokenSource};

#[derive(Debug, Args)]
pub(super) struct SinkArgs {
    #[command(flatten)]
    owner: Owner,
    /// The sink's name.
    #[arg(long, default_value = "integrity-monitoring")]
    name: String,
    /// The topic's name. Its dead letters go to a topic with -dead-letter added.
    #[arg(long, default_value = "integrity-monitoring")]
    topic: String,
    /// The project of topic and subscription. Without it, the sink's project.
    #[arg(long, value_name = "PROJECT")]
    topic_project: Option<String>,
    /// The subscription's name. Dead letters are kept by one with -dead-letter added.
    #[arg(long, default_value = "sysdig-scc")]
    subscription: String,
    /// Push to this address, https://HOST/pubsub/push. Without it, the subscription is pulled.
    #[arg(long, value_name = "URL", requires = "push_account")]
    push_endpoint: Option<String>,
    /// The service account whose token pushes show.
    #[arg(long, value_name = "EMAIL", requires = "push_endpoint")]
    push_account: Option<String>,
    /// The token's audience. Without it, the address.
    #[arg(long, requires = "push_endpoint")]
    audience: Option<String>,
    /// Also bring what gotpm logs about attestation. Among it are tokens that are valid for an hour.
    #[arg(long)]
    with_gotpm: bool,
}

/// Whose entries the sink takes.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Owner {
    /// The entries of this project.
    #[arg(long)]
    project: Option<String>,
    /// The entries of all projects in this folder, by its number.
    #[arg(long)]
    folder: Option<String>,
    /// The entries of all projects in this organization, by its number.
    #[arg(long)]
    organization: Option<String>,
}

/// Runs the command.
///
/// # Errors
/// What is wrong with the settings or arguments, what the services said, or that something is missing in the end.
pub(super) async fn run(args: &SinkArgs, dry_run: bool) -> anyhow::Result<()> {
    let wanted = wanted(args)?;
    let mut env = environment().await;
    let (google, pubsub) = (GoogleConfig::read(&mut env), PubsubConfig::read(&mut env));
    let names = names_endpoint(&mut env, pubsub.as_ref());
    env.finish()?;
    let (google, pubsub) = google.zip(pubsub).context("the settings cannot be read")?;
    let work = Work::new(&google, &pubsub, names, &wanted, dry_run)?;
    let there = work.look().await?;
    let missing = work.all(there).await?;
    next(&wanted, pubsub.emulator.is_some());
    if missing > 0 {
        bail!("something is missing: run what is said above, or this again as somebody who may");
    }
    Ok(())
}

fn wanted(args: &SinkArgs) -> anyhow::Result<Wanted> {
    let (kind, id) = match &args.owner {
        Owner { project: Some(id), .. } => ("projects", id),
        Owner { folder: Some(id), .. } => ("folders", id),
        Owner { organization: Some(id), .. } => ("organizations", id),
        _ => bail!("give --project, --folder or --organization"),
    };
    let id = id.strip_prefix(kind).and_then(|rest| rest.strip_prefix('/')).unwrap_or(id);
    let alone = kind == "projects";
    if !alone && (id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_digit())) {
        bail!("{id:?} is no number of a folder or organization: `gcloud organizations list` shows them");
    }
    let project = args.topic_project.as_deref().or(alone.then_some(id));
    let project = project.context("--topic-project is required with --folder and --organization")?;
    for project in [Some(project), alone.then_some(id)].into_iter().flatten() {
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.:".contains(&byte);
        if project.is_empty() || !project.bytes().all(fits) {
            bail!("{project:?} is no project id, which is like my-project");
        }
    }
    for (option, name) in [("topic", &args.topic), ("subscription", &args.subscription)] {
        named(option, name)?;
    }
    let topic = format!("projects/{project}/topics/{}", args.topic);
    let sink = Sink {
        name: sink_name(&args.name)?,
        destination: format!("pubsub.googleapis.com/{topic}"),
        filter: filter(args.with_gotpm),
        include_children: !alone,
        ..Sink::default()
    };
    Ok(Wanted {
        owner: format!("{kind}/{id}"),
        sink,
        project: project.to_owned(),
        topic,
        subscription: format!("projects/{project}/subscriptions/{}", args.subscription),
        push: push(args)?,
    })
}

/// Pub/Sub's rule for names, but for % (it would have to be encoded), less what the longer name of the dead letters takes.
fn named(option: &str, name: &str) -> anyhow::Result<()> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~+".contains(&byte);
    let long = (3..=243).contains(&name.len());
    if !long || !name.starts_with(|c: char| c.is_ascii_alphabetic()) || !name.bytes().all(fits) {
        bail!(
            "--{option} {name:?} cannot be a name: 3 to 243 letters, digits and -_.~+, the first a letter, without projects/…"
        );
    }
    Ok(())
}

fn sink_name(name: &str) -> anyhow::Result<String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let first = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    if !first || name.len() > 100 || !name.bytes().all(fits) {
        bail!(
            "--name {name:?} cannot be a sink's name: at most 100 letters, digits and -_., the first a letter or digit"
        );
    }
    Ok(name.to_owned())
}

fn push(args: &SinkArgs) -> anyhow::Result<Option<Push>> {
    let Some((endpoint, account)) = args.push_endpoint.clone().zip(args.push_account.clone()) else { return Ok(None) };
    let url = Url::parse(&endpoint).with_context(|| format!("--push-endpoint {endpoint:?} is not an address"))?;
    if !may_carry_a_token(&url) {
        bail!("--push-endpoint {endpoint:?} is not https, which pushes with a token need");
    }
    if !account.contains('@') {
        bail!("--push-account {account:?} is no e-mail address, such as scc-push@my-project.iam.gserviceaccount.com");
    }
    if url.path().trim_end_matches('/') != "/pubsub/push" {
        note!("Note: the connector takes pushes at /pubsub/push, and the address ends in {:?}.", url.path());
    }
    let audience = args.audience.clone().unwrap_or_else(|| endpoint.clone());
    Ok(Some(Push { endpoint, account, audience }))
}

/// Where project numbers come from; nowhere beside an emulator, unless it is said.
fn names_endpoint(env: &mut Env, pubsub: Option<&PubsubConfig>) -> Option<Url> {
    let given = env.given(&RESOURCE_MANAGER_ENDPOINT).is_some();
    env.address(&RESOURCE_MANAGER_ENDPOINT)
        .flatten()
        .filter(|_| given || pubsub.is_none_or(|pubsub| pubsub.emulator.is_none()))
}

/// What is there.
struct There {
    topic: bool,
    dead_topic: bool,
    subscription: Option<Differences>,
    dead_subscription: Option<Differences>,
    sink: Option<Sink>,
}

/// The services, and what is done.
struct Work<'a> {
    pubsub: Client,
    /// `None`: Cloud Logging cannot write to an emulator.
    logging: Option<Http>,
    names: Option<ResourceManager>,
    wanted: &'a Wanted,
    dry_run: bool,
}

impl<'a> Work<'a> {
    fn new(
        google: &GoogleConfig,
        config: &PubsubConfig,
        names: Option<Url>,
        wanted: &'a Wanted,
        dry_run: bool,
    ) -> anyhow::Result<Self> {
        let base = config.base();
        let tokens = match config.emulator {
            Some(_) => TokenSource::none(),
            None => google.token_source(Account::Security, &base)?,
        };
        let http = |base: Url| -> anyhow::Result<Http> {
            let tokens = google.token_source(Account::Security, &base)?;
            Ok(Http::new(HttpSettings::new(base), tokens)?)
        };
        let real = config.emulator.is_none() || is_loopback(&config.logging);
        Ok(Self {
            pubsub: Client::new(&base, &tokens)?,
            logging: real.then(|| http(config.logging.clone())).transpose()?,
            names: names.map(http).transpose()?.map(ResourceManager::new),
            wanted,
            dry_run,
        })
    }

    /// Reads everything, and finds what stands in the way.
    async fn look(&self) -> anyhow::Result<There> {
        let wanted = self.wanted;
        let sink = match &self.logging {
            Some(http) => {
                logging::sink(http, &wanted.owner, &wanted.sink.name).await.map_err(|e| self.of_logging(e))?
            }
            None => None,
        };
        Ok(There {
            topic: self.pubsub.has_topic(&wanted.topic).await.map_err(|e| self.of_pubsub(e))?,
            dead_topic: self.pubsub.has_topic(&wanted.dead_topic()).await.map_err(|e| self.of_pubsub(e))?,
            subscription: self.compare(&wanted.subscription, &wanted.settings(), wanted.push.as_ref()).await?,
            dead_subscription: self.compare(&wanted.dead_subscription(), &wanted.dead_settings(), None).await?,
            sink,
        })
    }

    async fn compare(
        &self,
        name: &str,
        wanted: &Subscription,
        push: Option<&Push>,
    ) -> anyhow::Result<Option<Differences>> {
        let found = self.pubsub.subscription(name).await.map_err(|error| self.of_pubsub(error))?;
        let Some(found) = found else { return Ok(None) };
        match differences(&found, wanted, push) {
            Ok(all) => Ok(Some(all)),
            Err(why) => bail!(
                "nothing was changed: the subscription {name} {why}; choose another with --subscription, or remove it with `gcloud pubsub subscriptions delete {name}`"
            ),
        }
    }

    /// Makes what is missing and mends what differs. Answers how much could not be done.
    async fn all(&self, there: There) -> anyhow::Result<u32> {
        let wanted = self.wanted;
        self.topic(&wanted.topic, there.topic).await?;
        self.topic(&wanted.dead_topic(), there.dead_topic).await?;
        let new = there.subscription.is_none();
        let (dead, main) = (wanted.dead_subscription(), &wanted.subscription);
        let mut missing = self.subscription(&dead, &wanted.dead_settings(), there.dead_subscription).await?;
        missing += self.subscription(main, &wanted.settings(), there.subscription).await?;
        let writer = self.sink(there.sink).await?;
        match writer {
            Some(writer) => missing += self.grant(&wanted.topic, there.topic, PUBLISHER, &writer).await,
            None if self.logging.is_none() => {}
            None => say!("The sink's writer would be granted {PUBLISHER} on {}.", wanted.topic),
        }
        let Some(agent) = self.agent().await else {
            // Beside an emulator there is nobody to be granted anything.
            return Ok(missing + u32::from(self.names.is_some()));
        };
        missing += self.grant(&wanted.dead_topic(), there.dead_topic, PUBLISHER, &agent).await;
        missing += self.grant(&wanted.subscription, !new, SUBSCRIBER, &agent).await;
        if let Some(push) = &wanted.push {
            say!(
                "Pub/Sub makes tokens of {0} if its agent may. In older projects that takes: gcloud iam service-accounts add-iam-policy-binding {0} --member {agent} --role roles/iam.serviceAccountTokenCreator",
                push.account
            );
        }
        Ok(missing)
    }

    async fn topic(&self, name: &str, there: bool) -> anyhow::Result<()> {
        let did = match (there, self.dry_run) {
            (true, _) => "is there",
            (false, true) => "would be made",
            (false, false) => match self.pubsub.create_topic(name).await.map_err(|error| self.of_pubsub(error))? {
                true => "was made",
                false => "is there",
            },
        };
        say!("The topic {name} {did}.");
        Ok(())
    }

    /// Answers 1 when what is there could not be mended.
    async fn subscription(&self, name: &str, wanted: &Subscription, found: Option<Differences>) -> anyhow::Result<u32> {
        let Some(found) = found else {
            if !self.dry_run {
                self.pubsub.create_subscription(name, wanted).await.map_err(|error| self.of_pubsub(error))?;
            }
            say!("The subscription {name} {}; it never expires.", self.did("made"));
            return Ok(0);
        };
        found.kept.iter().for_each(|sentence| say!("{sentence}"));
        if found.members.is_empty() {
            say!("The subscription {name} is there.");
            return Ok(0);
        }
        if !self.dry_run {
            match self.pubsub.update_subscription(name, &found.mended, &found.members).await {
                // Not every service can change every member: Google's emulator cannot change when one expires.
                Err(error) if matches!(error.status(), Some(400 | 501)) => {
                    note!("The subscription {name} could not be mended: {}", chain(&error));
                    note!("  By hand: gcloud pubsub subscriptions update {name} {}", found.by_hand());
                    return Ok(1);
                }
                done => done.map_err(|error| self.of_pubsub(error))?,
            };
        }
        say!("The subscription {name} {}: {}.", self.did("mended"), found.members.join(", "));
        Ok(0)
    }

    /// Answers who writes, once there is a sink.
    async fn sink(&self, found: Option<Sink>) -> anyhow::Result<Option<String>> {
        let (wanted, name) = (&self.wanted.sink, format!("{}/sinks/{}", self.wanted.owner, self.wanted.sink.name));
        let Some(http) = &self.logging else {
            say!("The sink {name} was not made: Cloud Logging cannot write to the emulator of PUBSUB_EMULATOR_HOST.");
            return Ok(None);
        };
        let Some(found) = found else {
            say!("The sink {name} {} with the filter {}", self.did("made"), wanted.filter);
            if self.dry_run {
                return Ok(None);
            }
            let made = logging::create_sink(http, &self.wanted.owner, wanted).await;
            return self.writer(made.map_err(|error| self.of_logging(error))?).map(Some);
        };
        if found.disabled || !found.exclusions.is_empty() {
            let (kind, id) = self.wanted.owner.split_once('/').unwrap_or_default();
            let kind = kind.trim_end_matches('s');
            let update = format!("gcloud logging sinks update {} --{kind}={id}", self.wanted.sink.name);
            if found.disabled {
                say!("The sink {name} is switched off, and was left so: nothing comes until `{update} --no-disabled`.");
            }
            if !found.exclusions.is_empty() {
                say!("The sink {name} leaves out entries by {} exclusions, which were left.", found.exclusions.len());
            }
        }
        let changes = sink_changes(&found, wanted);
        if changes.is_empty() {
            say!("The sink {name} is there.");
            return self.writer(found).map(Some);
        }
        say!("The sink {name} {}: {}.", self.did("mended"), changes.join(", "));
        for (member, was, is) in
            [("filter", &found.filter, &wanted.filter), ("destination", &found.destination, &wanted.destination)]
        {
            if changes.contains(&member) {
                say!("  its {member} was {was}\n  and {} {is}", if self.dry_run { "would be" } else { "is now" });
            }
        }
        if self.dry_run {
            return self.writer(found).map(Some);
        }
        let updated = logging::update_sink(http, &self.wanted.owner, wanted, &changes).await;
        self.writer(updated.map_err(|error| self.of_logging(error))?).map(Some)
    }

    fn writer(&self, sink: Sink) -> anyhow::Result<String> {
        if sink.writer_identity.is_empty() {
            bail!(
                "the sink {} does not say who writes (writerIdentity), so nobody can be granted",
                self.wanted.sink.name
            );
        }
        Ok(sink.writer_identity)
    }

    /// Pub/Sub's own account in the project, which carries dead letters.
    async fn agent(&self) -> Option<String> {
        let project = &self.wanted.project;
        let number = match &self.names {
            _ if project.bytes().all(|byte| byte.is_ascii_digit()) => Ok(project.clone()),
            Some(names) => names.project(project).await.map(|project| project.number.0).map_err(|error| chain(&error)),
            None => Err("beside an emulator nobody is asked".into()),
        };
        match number {
            Ok(number) if !number.is_empty() => {
                return Some(format!("serviceAccount:service-{number}@gcp-sa-pubsub.iam.gserviceaccount.com"));
            }
            Ok(_) => say!("The number of project {project} is not known, so Pub/Sub's agent was granted nothing."),
            Err(why) => {
                say!("The number of project {project} is not known ({why}), so Pub/Sub's agent was granted nothing.");
            }
        }
        let member = "serviceAccount:service-PROJECT_NUMBER@gcp-sa-pubsub.iam.gserviceaccount.com";
        say!("Without these, dead letters stay where they are:");
        say!("  {}", command(&self.wanted.dead_topic(), PUBLISHER, member));
        say!("  {}", command(&self.wanted.subscription, SUBSCRIBER, member));
        None
    }

    /// Answers 1 when the grant could not be made.
    async fn grant(&self, resource: &str, there: bool, role: &str, member: &str) -> u32 {
        let granted = match (self.dry_run, there) {
            (true, true) => self.pubsub.grants(resource, role, member).await.map(|holds| !holds),
            (true, false) => Ok(true),
            (false, _) => self.pubsub.grant(resource, role, member).await,
        };
        match granted {
            Ok(true) => say!("{member} {} {role} on {resource}.", self.did("granted")),
            Ok(false) => say!("{member} has {role} on {resource}."),
            Err(error) if error.status() == Some(501) => {
                say!("Granting {role} on {resource} is not possible here: an emulator has no access control.");
            }
            Err(error) => {
                let command = command(resource, role, member);
                note!("{member} was not granted {role} on {resource}: {}", chain(&error));
                note!("  A new account may take a minute to be known. By hand: {command}");
                return 1;
            }
        }
        0
    }

    fn did(&self, what: &str) -> String {
        format!("{} {what}", if self.dry_run { "would be" } else { "was" })
    }

    fn of_pubsub(&self, error: ApiError) -> anyhow::Error {
        let project = &self.wanted.project;
        let grant = format!(
            "gcloud projects add-iam-policy-binding {project} --member user:YOU --role roles/pubsub.admin, for as long as this takes"
        );
        let missing = format!("check that the project {project} exists");
        with_remedy(error, &Asked { api: "pubsub.googleapis.com", project: Some(project), grant, missing })
    }

    fn of_logging(&self, error: ApiError) -> anyhow::Error {
        let (kind, id) = self.wanted.owner.split_once('/').unwrap_or_default();
        let missing = format!("check that {} exists", self.wanted.owner);
        let grant = match kind {
            "folders" => format!("gcloud resource-manager folders add-iam-policy-binding {id}"),
            kind => format!("gcloud {kind} add-iam-policy-binding {id}"),
        };
        let grant = format!("{grant} --member user:YOU --role roles/logging.configWriter, for as long as this takes");
        let project = (kind == "projects").then_some(id);
        with_remedy(error, &Asked { api: "logging.googleapis.com", project, grant, missing })
    }
}

const PUBLISHER: &str = "roles/pubsub.publisher";
const SUBSCRIBER: &str = "roles/pubsub.subscriber";

/// The same grant by hand.
fn command(resource: &str, role: &str, member: &str) -> String {
    let kind = if resource.contains("/topics/") { "topics" } else { "subscriptions" };
    format!("gcloud pubsub {kind} add-iam-policy-binding {resource} --member {member} --role {role}")
}

fn with_remedy(error: ApiError, asked: &Asked<'_>) -> anyhow::Error {
    let remedy = remedy(&error, asked);
    anyhow::Error::new(error).context(remedy)
}

/// What the connector is to be told, and what it still needs.
fn next(wanted: &Wanted, emulator: bool) {
    match &wanted.push {
        Some(push) => {
            say!("PUBSUB_PUSH_AUDIENCE={}", push.audience);
            say!("PUBSUB_PUSH_ACCOUNTS={}", push.account);
        }
        None => {
            say!("PUBSUB_SUBSCRIPTION={}", wanted.subscription);
            if !emulator {
                let account = "serviceAccount:ACCOUNT";
                say!("The connector's account must be let in: {}", command(&wanted.subscription, SUBSCRIBER, account));
            }
        }
    }
}
