//! `setup source · channel · forwarder · sink`: found, else made; what was done is said. Tokens are never printed.

use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use secrecy::SecretString;

use super::out::{note, say};
use super::probe::google::{Asked, member, remedy};
use super::setup_sink::{self, SinkArgs};
use crate::app::SOURCE_DISPLAY_NAME;
use crate::config::google::{Account, GoogleConfig};
use crate::config::scc::{ORG_ID, SccConfig};
use crate::config::secrets::environment;
use crate::config::server::ServerConfig;
use crate::config::sysdig::{SYSDIG_TOKEN, SysdigConfig, WEBHOOK_URL};
use crate::config::{Env, Problems};
use crate::google::scc::{Source, create_source, is_source_name, sources};
use crate::google::{ApiError, Client as GoogleClient, HttpSettings};
use crate::sysdig::channels::{Change, ChannelSpec, May};
use crate::sysdig::forwarders::ForwarderSpec;
use crate::sysdig::policies::Policy;
use crate::sysdig::{Client, Patience, SysdigError};

/// What the source is for, as people see it in Security Command Center.
const DESCRIPTION: &str =
    "Runtime security events from Sysdig Secure and Falco, and Shielded VM integrity, by sysdig-scc";

/// Find or make what the connector needs elsewhere. Each can be run again at any time.
#[derive(Debug, Args)]
pub(super) struct SetupArgs {
    #[command(subcommand)]
    what: What,
    /// Only say what would be done.
    #[arg(long, global = true)]
    dry_run: bool,
}

#[derive(Debug, Subcommand)]
enum What {
    /// The source of findings in Security Command Center; prints what belongs into SOURCE_ID.
    Source {
        /// The source's display name: 1 to 32 letters, digits, spaces, hyphens and underscores.
        #[arg(long, default_value = SOURCE_DISPLAY_NAME, value_parser = source_name)]
        name: String,
    },
    /// Sysdig's notification channel that sends to WEBHOOK_URL.
    Channel {
        /// Also add the channel to the policy of this name or id; may be given several times.
        #[arg(long = "policy", value_name = "NAME")]
        policies: Vec<String>,
    },
    /// Sysdig's event forwarder that sends to WEBHOOK_URL: batches, and all that Sysdig knows of an event.
    Forwarder,
    /// What brings Shielded VM integrity entries here: topic, log sink with its grant, subscription, dead letters.
    Sink(Box<SinkArgs>),
}

/// Runs the command.
///
/// # Errors
/// What is wrong with the settings, or what the service said.
pub(super) fn run(args: SetupArgs) -> anyhow::Result<ExitCode> {
    super::block_on(async move {
        match args.what {
            What::Source { name } => source(&name, args.dry_run).await?,
            What::Channel { policies } => channel(&policies, args.dry_run).await?,
            What::Forwarder => forwarder(args.dry_run).await?,
            What::Sink(wanted) => setup_sink::run(&wanted, args.dry_run).await?,
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn source_name(text: &str) -> Result<String, &'static str> {
    if !is_source_name(text) {
        return Err(
            "a name is 1 to 32 letters, digits, spaces, hyphens and underscores, with a letter or digit at both ends",
        );
    }
    Ok(text.to_owned())
}

async fn source(name: &str, dry_run: bool) -> anyhow::Result<()> {
    let mut env = environment().await;
    let (google, scc) = (GoogleConfig::read(&mut env), SccConfig::read(&mut env));
    if scc.as_ref().is_some_and(|scc| scc.organization.is_none()) {
        env.problem(ORG_ID.name, "is required", "give the organization's number: `gcloud organizations list`");
    }
    env.finish()?;
    let (google, scc) = google.zip(scc).context("the settings cannot be read")?;
    let organization = scc.organization.clone().context("ORG_ID is required")?;
    let tokens = google.token_source(Account::Security, &scc.endpoint)?;
    let settings = HttpSettings { timeout: scc.timeout, ..HttpSettings::new(scc.endpoint.clone()) };
    let member = member(&tokens).await;
    let client = GoogleClient::new(settings, tokens)?;
    let failed = |what: &str, error: ApiError| {
        let asked = Asked {
            api: "securitycenter.googleapis.com",
            project: google.quota_project.as_deref().or(scc.project.as_deref()),
            grant: format!(
                "gcloud organizations add-iam-policy-binding {organization} --member {member} --role roles/securitycenter.sourcesEditor"
            ),
            missing: "check ORG_ID and SCC_ENDPOINT".into(),
        };
        let text = format!("{what}; {}", remedy(&error, &asked));
        anyhow::Error::new(error).context(text)
    };
    let listed = sources(&client, &organization).await;
    let all = listed.map_err(|error| failed("the sources cannot be listed", error))?;
    let found: Vec<&Source> = all.iter().filter(|source| source.display_name == name).collect();
    let source = match found.as_slice() {
        [] if dry_run => {
            say!("A source {name:?} would be made in organization {organization}.");
            return Ok(());
        }
        [] => {
            let made = create_source(&client, &organization, name, DESCRIPTION).await;
            made.map_err(|error| failed("the source cannot be made", error))?
        }
        [one, rest @ ..] => {
            for other in rest {
                note!("There is another source of the same name: {}", other.name);
            }
            (*one).clone()
        }
    };
    let verb = if found.is_empty() { "was made" } else { "is there" };
    say!("The source {name:?} {verb}: {}", source.name);
    say!("SOURCE_ID={}", source.name.rsplit('/').next().unwrap_or_default());
    Ok(())
}

/// Sysdig, our address there, and the token it is to show.
struct Ready {
    client: Client,
    config: SysdigConfig,
    url: String,
    token: SecretString,
    older: Vec<SecretString>,
}

async fn ready() -> anyhow::Result<Ready> {
    let mut env = environment().await;
    let (server, config) = (ServerConfig::read(&mut env), SysdigConfig::read(&mut env));
    if let Some(config) = &config {
        require(&mut env, config);
    }
    env.finish()?;
    let (server, config) = server.zip(config).context("the settings cannot be read")?;
    let access = config.access.clone().ok_or_else(|| Problems(Vec::new()))?;
    let client = Client::new(access, Patience { timeout: config.timeout, ..Patience::default() })?;
    let url = config.webhook_url.as_ref().map(ToString::to_string).context("WEBHOOK_URL is required")?;
    let mut tokens = server.tokens.into_iter();
    let token = tokens.next().context("WEBHOOK_AUTHENTICATION_TOKEN is required")?;
    Ok(Ready { client, config, url, token, older: tokens.collect() })
}

fn require(env: &mut Env, config: &SysdigConfig) {
    if config.access.is_none() {
        env.problem(SYSDIG_TOKEN.name, "is required", "copy it from Settings, User Profile, Sysdig Secure API Token");
    }
    if config.webhook_url.is_none() {
        env.problem(WEBHOOK_URL.name, "is required", &format!("for example {}", WEBHOOK_URL.example));
    }
}

async fn channel(policies: &[String], dry_run: bool) -> anyhow::Result<()> {
    let ready = ready().await?;
    let spec = ChannelSpec {
        name: ready.config.channel_name.clone(),
        url: ready.url,
        token: ready.token,
        older: ready.older,
        allow_insecure: ready.config.webhook_allow_insecure,
    };
    if !policies.is_empty() {
        // Nothing is changed before every name is known to be right.
        let all = ready.client.policies().await.map_err(with_remedy)?;
        policies.iter().try_for_each(|name| called(&all, name).map(drop))?;
    }
    let may = if dry_run { May::Look } else { May::CreateAndUpdate };
    let channel = ready.client.ensure_channel(&spec, may).await.map_err(with_remedy)?;
    say("notification channel", &spec.name, &channel.change, dry_run);
    if !channel.enabled {
        say!("It is switched off at Sysdig, and was left so.");
    }
    if let Some(team) = channel.team {
        say!("It belongs to team {team} only: policies of other teams cannot use it.");
    }
    match channel.id {
        None if !dry_run && !policies.is_empty() => {
            bail!("Sysdig does not say which id the channel has, so that it was added to no policy: run this again")
        }
        id => in_policies(&ready.client, id, policies, dry_run).await,
    }
}

/// The one policy of this name, else of this id.
fn called<'a>(all: &'a [Policy], name: &str) -> anyhow::Result<&'a Policy> {
    let named: Vec<_> = all.iter().filter(|policy| policy.name == name).collect();
    let of_id = || all.iter().find(|policy| policy.id.to_string() == name);
    match named.as_slice() {
        [policy] => Ok(policy),
        [] => of_id().with_context(|| {
            format!("0 policies are called {name:?}, and none has that id; give a name exactly as Sysdig shows it")
        }),
        several => {
            let ids: Vec<_> = several.iter().map(|policy| policy.id.to_string()).collect();
            bail!("{} policies are called {name:?}; give the id of one: {}", several.len(), ids.join(", "))
        }
    }
}

/// Adds the channel, which has no id before it is made, to the policies.
async fn in_policies(client: &Client, channel: Option<i64>, wanted: &[String], dry_run: bool) -> anyhow::Result<()> {
    let all = client.policies().await.map_err(with_remedy)?;
    let off =
        |policy: &Policy| if policy.enabled { "" } else { ", but is switched off at Sysdig: nothing comes of it" };
    let carries = |policy: &Policy| channel.is_some_and(|channel| policy.channels.contains(&channel));
    let mut told = Vec::new();
    for name in wanted {
        let policy = called(&all, name)?;
        told.push(policy.id);
        let there = carries(policy);
        if let Some(channel) = channel.filter(|_| !there && !dry_run) {
            client.add_channel_to_policy(policy.id, channel).await.map_err(with_remedy)?;
        }
        let did = match (there, dry_run) {
            (true, _) => "sends to it already",
            (false, true) => "would be made to send to it",
            (false, false) => "sends to it now",
        };
        say!("The policy {:?} {did}{}.", policy.name, off(policy));
    }
    let carrying: Vec<&Policy> = all.iter().filter(|policy| carries(policy)).collect();
    if carrying.is_empty() && wanted.is_empty() {
        say!(
            "No policy sends to it yet, so nothing will arrive: add it with --policy NAME, or in Sysdig's policy editor."
        );
    }
    for policy in carrying.into_iter().filter(|policy| !told.contains(&policy.id)) {
        say!("The policy {:?} sends to it{}.", policy.name, off(policy));
    }
    Ok(())
}

async fn forwarder(dry_run: bool) -> anyhow::Result<()> {
    let ready = ready().await?;
    let spec = ForwarderSpec {
        name: ready.config.channel_name.clone(),
        url: ready.url,
        token: ready.token,
        allow_insecure: ready.config.webhook_allow_insecure,
    };
    let forwarder = ready.client.ensure_forwarder(&spec, !dry_run).await.map_err(with_remedy)?;
    say("event forwarder", &spec.name, &forwarder.change, dry_run);
    if !forwarder.enabled {
        say!("It is switched off at Sysdig, and was left so.");
    }
    Ok(())
}

fn say(what: &str, name: &str, change: &Change, dry_run: bool) {
    let would = dry_run && *change != Change::Unchanged;
    say!("The {what} {name:?} {} {change}.", if would { "would be" } else { "is" });
}

/// The error with what a person can do about it.
fn with_remedy(error: SysdigError) -> anyhow::Error {
    let remedy = error.remedy();
    anyhow::Error::new(error).context(remedy)
}
