//! From a call to its answer; no HTTP here.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use secrecy::ExposeSecret as _;
use serde_json::{Map, Value, json};

use super::bulk;
use super::error::{Refusal, Status};
use super::faults::Faults;
use super::findings::{self, Ask, for_version};
use super::listing;
use super::marks;
use super::message::object;
use super::names::{Place, Version};
use super::query::Query;
use super::quota::Meter;
use super::route::{self, Call, FindingCall, SourceCall};
use super::settings::{Settings, V1};
use super::sources;
use super::store::Store;

type Object = Map<String, Value>;

/// One sandbox: what it remembers and how it was set up.
#[derive(Debug)]
pub(crate) struct Sandbox {
    pub(crate) settings: Settings,
    store: Mutex<Store>,
    meter: Mutex<Meter>,
    faults: Mutex<Faults>,
    counts: Mutex<Counts>,
}

/// What happened since the start or the last reset.
#[derive(Debug, Default, Clone)]
pub(crate) struct Counts {
    /// Answers by call and HTTP code.
    pub(crate) calls: BTreeMap<&'static str, BTreeMap<u16, u64>>,
    pub(crate) created: u64,
    pub(crate) duplicates: u64,
    pub(crate) faults: u64,
    pub(crate) throttled: u64,
}

/// A request as it came in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) method: &'a str,
    /// Still percent-encoded.
    pub(crate) path: &'a str,
    pub(crate) query: &'a str,
    pub(crate) body: &'a [u8],
    /// The header `Authorization`.
    pub(crate) authorization: Option<&'a str>,
}

/// A good answer: a JSON object and perhaps a warning for a header.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) body: Object,
    pub(crate) warning: Option<&'static str>,
}

impl Sandbox {
    pub(crate) fn new(settings: Settings) -> Self {
        let store = Mutex::new(Store::seeded(&settings));
        let meter = Mutex::new(Meter::new(settings.quotas, &settings.clock));
        Self { settings, store, meter, faults: Mutex::default(), counts: Mutex::default() }
    }

    pub(crate) fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn meter(&self) -> MutexGuard<'_, Meter> {
        self.meter.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets findings, sources, faults and counts; the sources of the start are there again.
    pub(crate) fn reset(&self) {
        *self.store() = Store::seeded(&self.settings);
        let quotas = self.meter().quotas();
        *self.meter() = Meter::new(quotas, &self.settings.clock);
        self.faults().clear();
        *self.counts() = Counts::default();
    }

    /// Answers one request of the API and counts it.
    pub(crate) fn answer(&self, request: Request<'_>) -> Result<Answer, Refusal> {
        let call = route::read(request.method, request.path);
        let name = call.as_ref().map_or("unknown", Call::name);
        let answer = call.and_then(|call| self.admitted(&call, request));
        let code = answer.as_ref().map_or_else(Refusal::code, |_| 200);
        let mut counts = self.counts();
        *counts.calls.entry(name).or_default().entry(code).or_default() += 1;
        match (name, code) {
            ("findings.create", 200) => counts.created += 1,
            ("findings.create", 409) => counts.duplicates += 1,
            (_, 429) => counts.throttled += 1,
            _ => {}
        }
        answer
    }

    fn admitted(&self, call: &Call, request: Request<'_>) -> Result<Answer, Refusal> {
        self.may_call(request)?;
        self.meter().call(call.writes())?;
        let version = route::version(request.path).unwrap_or(Version::V2);
        if version == Version::V1 && self.settings.v1 == V1::Refuse {
            let text = "This API is no longer available. Please use API V2 as an alternative.";
            return Err(Refusal::new(Status::InvalidArgument, text));
        }
        let query = Query::read(request.query, call, version)?;
        if matches!(call, Call::CreateFinding(_) | Call::Finding(FindingCall::Patch, ..)) {
            self.meter().upload(request.body.len())?;
        }
        self.done(call, &query, request.body)
    }

    /// 401 unless the token is the one that is asked for.
    fn may_call(&self, request: Request<'_>) -> Result<(), Refusal> {
        let Some(token) = &self.settings.require_token else { return Ok(()) };
        let given = request.authorization.unwrap_or_default();
        let given = given.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        let given = given.map_or("", |(_, token)| token.trim());
        if verify_slices_are_equal(token.expose_secret().as_bytes(), given.as_bytes()).is_ok() {
            return Ok(());
        }
        let text = "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or \
                    other valid authentication credential.";
        let refusal = Refusal::new(Status::Unauthenticated, text);
        Err(refusal.reason("ACCESS_TOKEN_TYPE_UNSUPPORTED", json!({"service": "securitycenter.googleapis.com"})))
    }

    fn done(&self, call: &Call, query: &Query, body: &[u8]) -> Result<Answer, Refusal> {
        let plain = |body: Object| Answer { body, warning: None };
        match call {
            Call::CreateSource(parent) => {
                let (body, twin) = sources::create(&mut self.store(), parent, object(body)?)?;
                Ok(Answer { body, warning: twin.then_some("another source has the same display name") })
            }
            Call::ListSources(parent) => sources::list(&self.store(), parent, query).map(plain),
            Call::Source(call, parent, id) => {
                let body = if *call == SourceCall::Get { Object::new() } else { object(body)? };
                sources::one(&mut self.store(), *call, (parent, id), (query, body)).map(plain)
            }
            Call::CreateFinding(place) => {
                let ask = self.ask(place, query, findings::read_finding(object(body)?, self.settings.clock.now())?);
                let finding = findings::create(&mut self.store(), ask)?;
                Ok(plain(for_version(finding, place.version)))
            }
            Call::ListFindings(place) => {
                listing::list(&self.store(), place, query, self.settings.clock.now()).map(plain)
            }
            Call::GroupFindings(place) => listing::group(&self.store(), place, object(body)?).map(plain),
            Call::BulkMute(place) => {
                bulk::mute(&mut self.store(), place, object(body)?, self.settings.clock.now()).map(plain)
            }
            Call::Operation(name) => bulk::operation(&self.store(), name).map(plain),
            Call::Finding(call, place, id) => self.finding(call, (place, id), query, object(body)?).map(plain),
        }
    }

    fn finding(&self, call: &FindingCall, at: (&Place, &str), query: &Query, body: Object) -> Result<Object, Refusal> {
        let (place, id) = at;
        let done = match call {
            FindingCall::Patch => {
                let ask = self.ask(place, query, findings::read_finding(body, self.settings.clock.now())?);
                findings::patch(&mut self.store(), id, ask)?
            }
            FindingCall::SetState => findings::state(&mut self.store(), id, self.ask(place, query, body))?,
            FindingCall::SetMute => findings::mute(&mut self.store(), id, self.ask(place, query, body))?,
            FindingCall::PatchMarks => marks::update(&mut self.store(), id, self.ask(place, query, body))?,
            FindingCall::PatchExternalSystem(system) => {
                findings::external_system(&mut self.store(), id, system, self.ask(place, query, body))?
            }
        };
        Ok(for_version(done, place.version))
    }

    fn ask<'a>(&self, place: &'a Place, query: &'a Query, body: Object) -> Ask<'a> {
        Ask { place, query, body, now: self.settings.clock.now(), strict_event_time: self.settings.strict_event_time }
    }
}
