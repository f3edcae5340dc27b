//! What a claim of `route` jobs needs: the rows that came in, what the rules say to them, and whom
//! that is about. One statement for each table, whatever the number of jobs.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use domain::{
    ActionFacts, Audience, ConsentCategories, DigestId, EventId, NotificationId, Recipient,
    RuleBook, RuleError, Scene, SharedRule, TenantId, TraceStep, UserId, unruled,
};
use serde_json::json;
use store::audience::{Crowd, CrowdKind, list_crowds};
use store::digests::{ToTell, list_to_tell};
use store::events::{Event, list_events_by_id};
use store::notifications::{Notification, list_notifications_by_id};
use store::recipients::list_recipients;
use store::{Connection, StoreError};

use super::plan::{Planned, plan};
use super::{Route, facts};
use crate::catalog::Shelf;

/// Users of one crowd that one job plans for, of a claim that has few such jobs, and of any claim.
/// What they lead to is one settlement's work.
const PAGE_MAX: usize = 500;
const PAGE_MIN: usize = 50;

/// Users that all jobs of a claim may plan for together, as long as each has its [`PAGE_MIN`].
const CLAIM_USERS: usize = 5000;

/// The step that routing's trace entries carry.
const STEP: &str = "route";

/// What one job is decided on, and what each user is told, before any of it has an id.
#[derive(Debug, Clone)]
pub(crate) struct Loaded {
    pub(crate) shelf: Arc<Shelf>,
    pub(crate) source: Source,
    pub(crate) planned: Vec<Planned>,
}

impl Loaded {
    pub(crate) fn new(shelf: Arc<Shelf>, source: Source, now: DateTime<Utc>) -> Self {
        let planned = plan(&source, &shelf, now);
        Self {
            shelf,
            source,
            planned,
        }
    }
}

/// What came in, and whom it is about.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    Event {
        event: Arc<Event>,
        heard: Vec<Heard>,
        /// What the rules said, and why.
        steps: Vec<TraceStep>,
    },
    /// A direct send; with what is known of its user.
    Notification(Box<Notification>, Option<Arc<Recipient>>),
    /// A digest that has closed; with what is known of its user.
    Digest(Box<ToTell>, Option<Arc<Recipient>>),
}

/// Who hears of an event by one action, as far as one page goes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Heard {
    /// `None` where no rule speaks of the event.
    pub(crate) rule: Option<SharedRule>,
    pub(crate) action: u16,
    /// With what is known of each; `None` for a user of whom nothing is.
    pub(crate) recipients: Vec<(UserId, Option<Arc<Recipient>>)>,
    /// The last user of this page, if there is another.
    pub(crate) after: Option<UserId>,
    /// What events are gathered by, where the action tells several as one.
    pub(crate) batch_key: Option<String>,
    pub(crate) steps: Vec<TraceStep>,
}

/// An event on its way to being heard.
struct Hearing {
    event: Arc<Event>,
    wanted: Vec<Wanted>,
    steps: Vec<TraceStep>,
}

/// An action and whom it names, before anybody is looked up.
struct Wanted {
    rule: Option<SharedRule>,
    action: u16,
    audience: Audience,
    after: Option<UserId>,
    batch_key: Option<String>,
    /// Where the crowds of its audience are among all that are looked up.
    crowds: std::ops::Range<usize>,
    steps: Vec<TraceStep>,
}

/// Loads a claim. Answers in the order of `jobs`; `None` for a row that is gone.
pub(crate) async fn load(
    connection: &mut Connection,
    shelf: &Arc<Shelf>,
    jobs: &[Route],
    now: DateTime<Utc>,
) -> Result<Vec<Option<Loaded>>, StoreError> {
    let events = events(connection, jobs).await?;
    let sends = sends(connection, jobs).await?;
    let digests = digests(connection, jobs).await?;
    let mut hearings: Vec<Option<Hearing>> = jobs
        .iter()
        .map(|job| {
            Some(hear(
                job,
                Arc::clone(events.get(&event_of(job)?)?),
                shelf,
                now,
            ))
        })
        .collect();
    let heard = gather(connection, &mut hearings).await?;

    let direct = jobs.iter().filter_map(|job| sends.get(&send_of(job)?));
    let mut users: BTreeSet<_> = direct
        .map(|sent| (&sent.tenant_id, &sent.user_id))
        .collect();
    let keys = digests.values().map(|it| &it.digest.key);
    users.extend(keys.map(|key| (&key.tenant_id, &key.user_id)));
    for (hearing, heard) in hearings.iter().zip(&heard) {
        let Some(hearing) = hearing else { continue };
        let named = heard.iter().flat_map(|heard| &heard.recipients);
        users.extend(named.map(|(user_id, _)| (&hearing.event.tenant_id, user_id)));
    }
    let mut of_events = hearings.iter().zip(&heard);
    let asks = !digests.is_empty()
        || sends.values().any(|sent| send_asks(sent, shelf))
        || of_events.any(|(hearing, heard)| match hearing {
            Some(hearing) => event_asks(&hearing.event, heard, shelf),
            None => false,
        });
    let people = people(connection, users, shelf, asks).await?;
    let known = |tenant: &TenantId, user: &UserId| {
        let known = people.get(tenant)?.get(user)?;
        Some(Arc::clone(known))
    };

    let loaded = jobs
        .iter()
        .zip(hearings)
        .zip(heard)
        .map(|((job, hearing), mut heard)| {
            let source = match hearing {
                Some(hearing) => {
                    know(&mut heard, people.get(&hearing.event.tenant_id));
                    Source::Event {
                        event: hearing.event,
                        heard,
                        steps: hearing.steps,
                    }
                }
                None => match (send_of(job), digest_of(job)) {
                    (Some(id), _) => {
                        let sent = sends.get(&id)?;
                        let recipient = known(&sent.tenant_id, &sent.user_id);
                        Source::Notification(Box::new(sent.clone()), recipient)
                    }
                    (None, Some(id)) => {
                        let to_tell = digests.get(&id)?;
                        let key = &to_tell.digest.key;
                        let recipient = known(&key.tenant_id, &key.user_id);
                        Source::Digest(Box::new(to_tell.clone()), recipient)
                    }
                    (None, None) => return None,
                },
            };
            Some(Loaded::new(Arc::clone(shelf), source, now))
        });
    Ok(loaded.collect())
}

/// Hears one event that need not be stored, as a dry run does.
pub(crate) async fn load_one(
    connection: &mut Connection,
    shelf: &Shelf,
    event: Event,
    now: DateTime<Utc>,
) -> Result<Source, StoreError> {
    let job = Route::Event { event_id: event.id };
    let event = Arc::new(event);
    let mut hearing = hear(&job, Arc::clone(&event), shelf, now);
    let steps = std::mem::take(&mut hearing.steps);
    let mut heard = gather(connection, &mut [Some(hearing)]).await?;
    let mut heard = heard.pop().unwrap_or_default();
    let named = heard.iter().flat_map(|heard| &heard.recipients);
    let users = named.map(|(user_id, _)| (&event.tenant_id, user_id));
    let asks = event_asks(&event, &heard, shelf);
    let people = people(connection, users.collect(), shelf, asks).await?;
    know(&mut heard, people.get(&event.tenant_id));
    Ok(Source::Event {
        event,
        heard,
        steps,
    })
}

/// Puts what is known of users beside them.
fn know(heard: &mut [Heard], known: Option<&HashMap<UserId, Arc<Recipient>>>) {
    for (user_id, recipient) in heard.iter_mut().flat_map(|it| &mut it.recipients) {
        *recipient = known.and_then(|known| known.get(user_id)).map(Arc::clone);
    }
}

fn event_of(job: &Route) -> Option<EventId> {
    match job {
        Route::Event { event_id } | Route::Rule { event_id, .. } => Some(*event_id),
        Route::Notification { .. } | Route::Digest { .. } => None,
    }
}

fn send_of(job: &Route) -> Option<NotificationId> {
    match job {
        Route::Notification { notification_id } => Some(*notification_id),
        Route::Event { .. } | Route::Rule { .. } | Route::Digest { .. } => None,
    }
}

fn digest_of(job: &Route) -> Option<DigestId> {
    match job {
        Route::Digest { digest_id } => Some(*digest_id),
        Route::Event { .. } | Route::Rule { .. } | Route::Notification { .. } => None,
    }
}

async fn events(
    connection: &mut Connection,
    jobs: &[Route],
) -> Result<HashMap<EventId, Arc<Event>>, StoreError> {
    let ids: BTreeSet<_> = jobs.iter().filter_map(event_of).collect();
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let ids: Vec<_> = ids.into_iter().collect();
    let events = list_events_by_id(connection, &ids).await?.into_iter();
    Ok(events.map(|event| (event.id, Arc::new(event))).collect())
}

async fn sends(
    connection: &mut Connection,
    jobs: &[Route],
) -> Result<HashMap<NotificationId, Notification>, StoreError> {
    let ids: Vec<_> = jobs.iter().filter_map(send_of).collect();
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let sends = list_notifications_by_id(connection, &ids)
        .await?
        .into_iter();
    Ok(sends.map(|sent| (sent.id, sent)).collect())
}

async fn digests(
    connection: &mut Connection,
    jobs: &[Route],
) -> Result<HashMap<DigestId, ToTell>, StoreError> {
    let ids: Vec<_> = jobs.iter().filter_map(digest_of).collect();
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let digests = list_to_tell(connection, &ids).await?.into_iter();
    Ok(digests.map(|it| (it.digest.id, it)).collect())
}

/// Asks the rules what they say to an event.
fn hear(job: &Route, event: Arc<Event>, shelf: &Shelf, now: DateTime<Utc>) -> Hearing {
    let book = shelf.rules(&event.tenant_id);
    let facts = facts(&event);
    let scene = Scene::of(&facts);
    let mut steps = Vec::new();
    let mut wanted = Vec::new();
    if let Route::Rule {
        rule_id,
        action,
        after,
        ..
    } = job
    {
        let found = book.and_then(|book| Some((book, book.rule(*rule_id)?)));
        let found = found.filter(|(_, rule)| rule.enabled);
        match found {
            Some((book, rule)) => {
                let all = 0..rule.actions.len() as u16;
                let only = all.filter(|place| action.is_none_or(|action| action == *place));
                wanted.extend(only.map(|place| want(book, rule, place, &scene, after.clone())));
            }
            None => steps.push(
                TraceStep::new(
                    STEP,
                    "rule_gone",
                    "the rule was removed or disabled meanwhile",
                )
                .with_detail(json!({"rule_id": rule_id})),
            ),
        }
        drop(scene);
        return Hearing {
            event,
            wanted,
            steps,
        };
    }
    let matching = book.map(|book| (book, book.matching(&scene, now)));
    if let Some((book, matching)) = matching {
        steps = matching.steps;
        for rule in &matching.rules {
            let actions = 0..rule.actions.len() as u16;
            wanted.extend(actions.map(|action| want(book, rule, action, &scene, None)));
        }
    }
    if wanted.is_empty() {
        match unruled(&facts) {
            Ok(user_id) => wanted.push(Wanted {
                rule: None,
                action: 0,
                audience: Audience {
                    users: BTreeSet::from([user_id]),
                    ..Audience::default()
                },
                after: None,
                batch_key: None,
                crowds: 0..0,
                steps: Vec::new(),
            }),
            Err(step) => steps.push(step),
        }
    }
    Hearing {
        event,
        wanted,
        steps,
    }
}

/// Asks an action whom it is for. One whose expression fails is for nobody, and says so.
fn want(
    book: &RuleBook,
    rule: &SharedRule,
    action: u16,
    scene: &Scene<'_>,
    after: Option<UserId>,
) -> Wanted {
    let place = usize::from(action);
    let is_batch = rule.actions.get(place).is_some_and(|it| it.batch.is_some());
    let asked = || {
        let audience = book.audience(rule, place, scene)?;
        let key = is_batch.then(|| book.batch_key(rule, place, scene));
        Ok((audience, key.transpose()?))
    };
    let failed = |error: RuleError| {
        TraceStep::new(STEP, "rule_failed", error.to_string()).with_detail(json!({
            "rule_id": rule.id, "rule": rule.name, "action": action,
        }))
    };
    let (audience, batch_key, steps) = match asked() {
        Ok((mut audience, batch_key)) => {
            let steps = audience.failed.drain(..).map(failed).collect();
            (audience, batch_key, steps)
        }
        Err(error) => (Audience::default(), None, vec![failed(error)]),
    };
    Wanted {
        rule: Some(Arc::clone(rule)),
        action,
        audience,
        after,
        batch_key,
        crowds: 0..0,
        steps,
    }
}

/// Looks up the crowds that actions name, and takes of each audience one page.
async fn gather(
    connection: &mut Connection,
    hearings: &mut [Option<Hearing>],
) -> Result<Vec<Vec<Heard>>, StoreError> {
    let mut crowds = Vec::new();
    let mut counts = Vec::new();
    for hearing in hearings.iter().flatten() {
        for wanted in &hearing.wanted {
            let before = crowds.len();
            let after = wanted.after.as_ref().map_or("", UserId::as_str);
            let of = |kind, name| Crowd {
                tenant_id: &hearing.event.tenant_id,
                kind,
                name,
                after,
            };
            let audience = &wanted.audience;
            crowds.extend(audience.roles.iter().map(|it| of(CrowdKind::Role, it)));
            crowds.extend(audience.groups.iter().map(|it| of(CrowdKind::Group, it)));
            crowds.extend(audience.topics.iter().map(|it| of(CrowdKind::Topic, it)));
            counts.push(before..crowds.len());
        }
    }
    let page = (CLAIM_USERS / crowds.len().max(1)).clamp(PAGE_MIN, PAGE_MAX);
    let limit = i64::try_from(page + 1).unwrap_or(i64::MAX);
    let members = list_crowds(connection, &crowds, limit).await?;
    let mut counts = counts.into_iter();
    for wanted in hearings.iter_mut().flatten().flat_map(|it| &mut it.wanted) {
        wanted.crowds = counts.next().unwrap_or(0..0);
    }
    let heard = hearings.iter_mut().map(|hearing| match hearing {
        Some(hearing) => hearing
            .wanted
            .drain(..)
            .map(|wanted| take_page(wanted, &members, page))
            .collect(),
        None => Vec::new(),
    });
    Ok(heard.collect())
}

/// The first `page` users of an audience in the order of their ids. Each crowd was asked for one
/// more, so what is left out is known.
fn take_page(wanted: Wanted, members: &[Vec<UserId>], page: usize) -> Heard {
    let crowds = members.get(wanted.crowds).unwrap_or_default();
    let named = wanted.audience.users.into_iter();
    let is_left = |user: &UserId| wanted.after.as_ref().is_none_or(|after| user > after);
    let mut users: BTreeSet<_> = named.filter(is_left).collect();
    users.extend(crowds.iter().flatten().cloned());
    let rest = users.len().saturating_sub(page);
    let users: Vec<_> = users.into_iter().take(page).collect();
    let after = users.last().filter(|_| rest > 0).cloned();
    let mut steps = wanted.steps;
    if let Some(rule) = &wanted.rule {
        let reason = match (users.len(), &after) {
            (0, _) if wanted.after.is_none() => "the action names nobody",
            (_, Some(_)) => "the action names more users than one page has",
            _ => "the action names its users",
        };
        steps.push(
            TraceStep::new(STEP, "recipients", reason).with_detail(json!({
                "rule": rule.name, "action": wanted.action, "users": users.len(),
                "more": after.is_some(),
            })),
        );
    }
    Heard {
        rule: wanted.rule,
        action: wanted.action,
        recipients: users.into_iter().map(|user| (user, None)).collect(),
        after,
        batch_key: wanted.batch_key,
        steps,
    }
}

type People = HashMap<TenantId, HashMap<UserId, Arc<Recipient>>>;

/// Whether those who hear of an event may be told what must be agreed to.
fn event_asks(event: &Event, heard: &[Heard], shelf: &Shelf) -> bool {
    let names = shelf.template_names(&event.tenant_id);
    heard.iter().any(|heard| {
        let facts = ActionFacts {
            event: facts(event),
            origin: heard.origin(),
            templates: &names,
        };
        facts.may_need(shelf.consent())
    })
}

/// Whether a direct send is about what must be agreed to.
fn send_asks(sent: &Notification, shelf: &Shelf) -> bool {
    let names = shelf.template_names(&sent.tenant_id);
    let template = sent.template.as_deref().and_then(|name| names.find(name));
    let of_template = template.and_then(|known| known.category.as_deref());
    let category = sent.category.as_deref().or(of_template);
    category.is_some_and(|category| shelf.consent().contains(category))
}

/// What is known of users; who has agreed to what only if it `asks` that. It is a third of what the
/// look-up costs.
async fn people(
    connection: &mut Connection,
    users: BTreeSet<(&TenantId, &UserId)>,
    shelf: &Shelf,
    asks: bool,
) -> Result<People, StoreError> {
    let wanted: Vec<_> = users.into_iter().collect();
    let nothing = ConsentCategories::none();
    let asked = if asks { shelf.consent() } else { &nothing };
    let mut people = People::new();
    for known in list_recipients(connection, &wanted, asked).await? {
        let user_id = known.recipient.user_id.clone();
        let of_tenant = people.entry(known.tenant_id).or_default();
        of_tenant.insert(user_id, Arc::new(known.recipient));
    }
    Ok(people)
}
