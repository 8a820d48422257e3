//! `/events`: what `docker events` follows: Docker's events of a swarm, as this manager applied what
//! they tell.
//!
//! Fields are those of moby's `logClusterEvent`, filters those of its `daemon/events/filter.go`, which
//! look at names whatever kind of object they are of. What an engine beside it has to tell (containers,
//! images) is not among them. Not here: what is an event (`crate::events`).
//!
//! Invariant: a stream misses nothing between its first event and its last; one that would, ends.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::answer::Problem;
use super::filters::{self, Filters, has_labels};
use super::parameters::Query;
use super::{Front, logs};
use crate::events::Event;
use crate::service::{CallName, now};

/// Docker's keys of filters. Those of an engine's objects are known, and match none of a swarm's.
const FILTERS: &[&str] = &[
    "config",
    "container",
    "daemon",
    "event",
    "image",
    "label",
    "network",
    "node",
    "plugin",
    "scope",
    "secret",
    "service",
    "type",
    "volume",
];

/// Filters by what an object is called: those of a swarm's kinds, and, here in vain, of an engine's.
const BY_NAME: &[&str] = &[
    "config",
    "container",
    "daemon",
    "image",
    "network",
    "node",
    "plugin",
    "secret",
    "service",
    "volume",
];

/// The scope of all that is told here.
const SCOPE: &str = "swarm";

/// What of the events is asked for.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Asked {
    since: String,
    until: String,
    filters: Option<String>,
}

/// The same, read.
#[derive(Default)]
pub(super) struct Wanted {
    /// From when on; none, from now on.
    since: Option<u64>,
    until: Option<u64>,
    filters: Filters,
}

fn instant(what: &str, text: &str) -> Result<Option<u64>, Problem> {
    if text.is_empty() {
        return Ok(None);
    }
    let ms = logs::since(text);
    let problem = || Problem::invalid(format!("invalid {what} {text:?}: it is no time of seconds"));
    ms.map(Some).ok_or_else(problem)
}

impl Asked {
    pub(super) fn read(self) -> Result<Wanted, Problem> {
        let (since, until) = (instant("since", &self.since)?, instant("until", &self.until)?);
        if let (Some(from), Some(to)) = (since, until)
            && from > to
        {
            let (from, to) = (&self.since, &self.until);
            let text = format!("`since` time ({from}) cannot be after `until` time ({to})");
            return Err(Problem::invalid(text));
        }
        let filters = filters::Query::from(self.filters).filters(FILTERS)?;
        Ok(Wanted { since, until, filters })
    }
}

impl Wanted {
    fn has(&self, event: &Event) -> bool {
        let of = |key: &str| self.filters.get(key);
        let is = |key: &str, value: &str| {
            of(key).is_none_or(|values| values.iter().any(|wanted| wanted == value))
        };
        // The whole or its beginning, of an id or a name.
        let begins = |text: &str, values: &[String]| {
            values.iter().any(|wanted| text.starts_with(wanted.as_str()))
        };
        let name = event.attributes.get("name").map(String::as_str).unwrap_or_default();
        let is_named = |key: &&str| {
            of(key).is_none_or(|values| begins(&event.id, values) || begins(name, values))
        };
        is("type", event.kind)
            && is("event", event.action.as_str())
            && is("scope", SCOPE)
            && BY_NAME.iter().all(is_named)
            && of("label").is_none_or(|labels| has_labels(&event.attributes, labels))
            && self.until.is_none_or(|until| event.at.0 <= until)
    }
}

fn line(event: &Event) -> Vec<u8> {
    let nanos = event.at.0.saturating_mul(1_000_000);
    let message = json!({
        "Type": event.kind,
        "Action": event.action.as_str(),
        "Actor": { "ID": event.id, "Attributes": event.attributes },
        "scope": SCOPE,
        "time": event.at.0 / 1_000,
        "timeNano": nanos,
    });
    let mut line = message.to_string().into_bytes();
    line.push(b'\n');
    line
}

/// Events on their way to a client.
struct Following {
    before: std::vec::IntoIter<Arc<Event>>,
    live: Receiver<Arc<Event>>,
    wanted: Wanted,
    ends: Option<Instant>,
    stop: CancellationToken,
}

impl Following {
    /// The next line; none after the last. An error breaks the stream off: events were missed.
    async fn next(&mut self) -> Option<Result<Vec<u8>, std::io::Error>> {
        if let Some(event) = self.before.find(|event| self.wanted.has(event)) {
            return Some(Ok(line(&event)));
        }
        loop {
            let event = tokio::select! {
                // What came before its end is told before it.
                biased;
                event = self.live.recv() => event,
                () = until(self.ends) => return None,
                () = self.stop.cancelled() => return None,
            };
            match event {
                Ok(event) if self.wanted.has(&event) => return Some(Ok(line(&event))),
                Ok(_) => {}
                // Too far behind; or the state leapt to a snapshot.
                Err(RecvError::Lagged(_) | RecvError::Closed) => {
                    return Some(Err(std::io::Error::other("events were missed")));
                }
            }
        }
    }
}

async fn until(end: Option<Instant>) {
    match end {
        Some(end) => tokio::time::sleep_until(end).await,
        None => std::future::pending().await,
    }
}

/// `GET /events`.
pub(super) async fn follow(
    State(front): State<Front>,
    Query(asked): Query<Asked>,
) -> Result<Response, Problem> {
    let wanted = asked.read()?;
    let (serving, caller) = front.serving().await?;
    let (service, events) = (&serving.service, &serving.events);
    // Who follows is told of all kinds, whatever is filtered.
    for call in
        [CallName::ListSecrets, CallName::ListServices, CallName::ListNetworks, CallName::ListNodes]
    {
        service.authorise(caller, call)?;
    }
    // What was acknowledged before the question is past.
    service.barrier().await?;
    let (kept, live) = events.follow();
    let before: Vec<_> = match wanted.since {
        Some(since) => kept.into_iter().filter(|event| event.at.0 >= since).collect(),
        None => Vec::new(),
    };
    let ends = wanted.until.map(|until| until.saturating_sub(now().0));
    let ends = ends.and_then(|left| Instant::now().checked_add(Duration::from_millis(left)));
    let stop = front.stop.clone();
    let following = Following { before: before.into_iter(), live, wanted, ends, stop };
    let lines = stream::unfold(Some(following), async |following| {
        let mut following = following?;
        match following.next().await? {
            Ok(line) => Some((Ok(line), Some(following))),
            Err(error) => Some((Err(error), None)),
        }
    });
    let content = [(header::CONTENT_TYPE, "application/json")];
    Ok((StatusCode::OK, content, Body::from_stream(lines)).into_response())
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use proto::id::Timestamp;
    use tokio::sync::broadcast;

    use super::*;
    use crate::events::Action;

    fn event(kind: &'static str, name: &str, at: u64) -> Event {
        let attributes = [("name", name), ("state.new", "down")];
        let attributes = attributes.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let id = format!("id-{name}");
        Event { at: Timestamp(at), kind, action: Action::Update, id, attributes: attributes.into() }
    }

    fn wanted(since: &str, until: &str, filters: &str) -> Result<Wanted, String> {
        let [since, until] = [since, until].map(ToOwned::to_owned);
        let asked = Asked { since, until, filters: Some(filters.to_owned()) };
        asked.read().map_err(|problem| problem.message().to_owned())
    }

    #[test]
    fn events_are_chosen_as_docker_chooses_them() {
        let node = event("node", "web1", 5_000);
        for (filters, is) in [
            ("", true),
            (r#"{"type":["node"]}"#, true),
            (r#"{"type":["secret","node"]}"#, true),
            (r#"{"type":["secret"]}"#, false),
            (r#"{"event":["update"]}"#, true),
            (r#"{"event":["create"]}"#, false),
            (r#"{"scope":["swarm"]}"#, true),
            (r#"{"scope":["local"]}"#, false),
            (r#"{"node":["web1"]}"#, true),
            (r#"{"node":["web"]}"#, true),
            (r#"{"node":["id-w"]}"#, true),
            (r#"{"node":["web11"]}"#, false),
            // A name is a name.
            (r#"{"service":["web1"]}"#, true),
            (r#"{"container":["db"]}"#, false),
            (r#"{"label":["state.new=down"]}"#, true),
            (r#"{"label":["state.new=ready"]}"#, false),
            (r#"{"label":["name"]}"#, true),
            (r#"{"type":["node"],"node":["db"]}"#, false),
        ] {
            assert_eq!(wanted("", "", filters).unwrap().has(&node), is, "{filters}");
        }
        assert!(wanted("", "5", "").unwrap().has(&node));
        assert!(!wanted("", "4.999", "").unwrap().has(&node));
        assert_eq!(
            wanted("", "", r#"{"colour":["red"]}"#).err().unwrap(),
            "invalid filter 'colour'"
        );
        let late = wanted("6", "5", "").err().unwrap();
        assert_eq!(late, "`since` time (6) cannot be after `until` time (5)");
        for wrong in ["x", "-1", "1.x"] {
            assert!(wanted(wrong, "", "").err().unwrap().starts_with("invalid since"), "{wrong}");
            assert!(wanted("", wrong, "").err().unwrap().starts_with("invalid until"), "{wrong}");
        }
    }

    #[test]
    fn an_event_is_written_as_docker_writes_it() {
        let written = line(&event("node", "web1", 5_250));
        let expected = concat!(
            r#"{"Action":"update","Actor":{"Attributes":{"name":"web1","state.new":"down"},"#,
            r#""ID":"id-web1"},"Type":"node","scope":"swarm","time":5,"timeNano":5250000000}"#,
            "\n"
        );
        assert_eq!(String::from_utf8(written).unwrap(), expected);
    }

    fn following(before: Vec<Event>, live: Receiver<Arc<Event>>, wanted: Wanted) -> Following {
        let before: Vec<_> = before.into_iter().map(Arc::new).collect();
        let stop = CancellationToken::new();
        Following { before: before.into_iter(), live, wanted, ends: None, stop }
    }

    #[tokio::test]
    async fn who_falls_behind_is_not_told_that_nothing_happened() {
        let (send, live) = broadcast::channel(4);
        let mut following = following(vec![event("node", "kept", 1)], live, Wanted::default());
        for number in 0..4 {
            send.send(Arc::new(event("node", &number.to_string(), 2))).unwrap();
        }
        for name in ["kept", "0", "1", "2", "3"] {
            let line = String::from_utf8(following.next().await.unwrap().unwrap()).unwrap();
            assert!(line.contains(&format!("\"id-{name}\"")), "{line}");
        }
        assert!(following.next().now_or_never().is_none(), "an idle stream stays open");
        for number in 0..5 {
            send.send(Arc::new(event("node", &number.to_string(), 3))).unwrap();
        }
        assert!(following.next().await.unwrap().is_err(), "one more than there is room for");
    }

    #[tokio::test]
    async fn a_stream_ends_at_its_end_and_with_the_manager() {
        let (send, live) = broadcast::channel(4);
        let mut ended = following(Vec::new(), live, Wanted::default());
        ended.ends = Some(Instant::now());
        send.send(Arc::new(event("node", "last", 2))).unwrap();
        assert!(ended.next().await.is_some(), "what came before is told");
        assert!(ended.next().await.is_none());
        let mut stopped = following(Vec::new(), send.subscribe(), Wanted::default());
        stopped.stop.cancel();
        assert!(stopped.next().now_or_never().unwrap().is_none());
    }
}
