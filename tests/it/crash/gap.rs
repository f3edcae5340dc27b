//! Two hundred clients on three nodes hear every number of their feed once and in order, whoever
//! dies meanwhile.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use chrono::Utc;
use domain::{TenantId, UserId};
use futures_util::StreamExt;
use postrider::api::token::issue_token;
use postrider::config::Secret;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use sqlx::PgPool;
use testkit::eventually;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use super::cluster::Cluster;
use super::fleet::{JWT_SECRET, Role, free_addresses, healthy, migrate, serve, work};
use super::load::{Load, Sending};
use super::nats::Nats;

/// Chooses who leaves when, and where to.
const SEED: u64 = 20_261_121;

const CLIENTS: usize = 200;

/// Two clients each, as two tabs.
const USERS: usize = CLIENTS / 2;

const EVENTS: usize = 12_000;

/// Frames a client hears at one node before it goes to another, at most.
const STAY_MAX: usize = 40;

/// How long a client waits for a node that is dead before it tries another.
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// Silence that is longer than any wake-up that was missed, and any poll.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// How long all may take to hear the last.
const END_MAX: Duration = Duration::from_mins(2);

/// What the clients have come to.
struct Crowd {
    addresses: [SocketAddr; 3],
    /// The last number that each has heard.
    heard: Vec<AtomicI64>,
    /// Sockets opened, over all.
    opened: AtomicUsize,
    is_over: AtomicBool,
}

impl Crowd {
    fn gather(addresses: [SocketAddr; 3]) -> (Arc<Self>, Vec<JoinHandle<()>>) {
        let crowd = Arc::new(Self {
            addresses,
            heard: (0..CLIENTS).map(|_| AtomicI64::new(0)).collect(),
            opened: AtomicUsize::new(0),
            is_over: AtomicBool::new(false),
        });
        let clients = (0..CLIENTS).map(|number| tokio::spawn(Arc::clone(&crowd).follow(number)));
        let clients = clients.collect();
        (crowd, clients)
    }

    /// One client: connects somewhere, hears some frames, leaves without a word, and so on.
    async fn follow(self: Arc<Self>, number: usize) {
        let mut rng = StdRng::seed_from_u64(SEED + number as u64);
        let user = UserId::from(format!("u-{}", number % USERS));
        let secret = Secret::new(JWT_SECRET);
        let hour = Duration::from_hours(1);
        let token = issue_token(&secret, &TenantId::default(), &user, Utc::now(), hour).unwrap();
        while !self.is_over.load(Ordering::Acquire) {
            let address = self.addresses[rng.random_range(0..3)];
            let stay = rng.random_range(1..=STAY_MAX);
            let last = self.heard[number].load(Ordering::Acquire);
            let url = format!("ws://{address}/v1/ws?last_seq={last}");
            let mut request = url.into_client_request().unwrap();
            let protocols = format!("postrider.v1, bearer.{token}");
            request
                .headers_mut()
                .insert("sec-websocket-protocol", protocols.parse().unwrap());
            match timeout(CONNECT_MAX, connect_async(request)).await {
                Ok(Ok((mut socket, _))) => {
                    self.opened.fetch_add(1, Ordering::AcqRel);
                    for _ in 0..stay {
                        let Ok(Some(Ok(message))) = timeout(SILENCE_MAX, socket.next()).await
                        else {
                            break;
                        };
                        if let Message::Text(text) = message {
                            self.hear(number, &serde_json::from_str(&text).unwrap());
                        }
                    }
                }
                // Dead just now; another may live.
                _ => sleep(Duration::from_millis(rng.random_range(50..300))).await,
            }
        }
    }

    fn hear(&self, number: usize, frame: &Value) {
        let heard = &self.heard[number];
        match frame["type"].as_str().unwrap() {
            "notification" => {
                let seq = frame["seq"].as_i64().unwrap();
                let last = heard.swap(seq, Ordering::AcqRel);
                assert_eq!(seq, last + 1, "client {number} heard {seq} after {last}");
            }
            // Nothing is removed here, and nothing is behind by too much.
            "resync" => panic!("client {number} was sent to the list: {frame}"),
            _ => {}
        }
    }

    fn has_heard_all(&self, load: &Load) -> bool {
        let all = |number: usize| load.events_of(number % USERS) as i64;
        let mut heard = self.heard.iter().enumerate();
        heard.all(|(number, heard)| heard.load(Ordering::Acquire) == all(number))
    }
}

/// Three fronts, a worker, and what carries wake-ups between them.
struct Nodes {
    cluster: Cluster,
    nats: Nats,
    fronts: [Role; 3],
    worker: Role,
}

impl Nodes {
    async fn start(addresses: [SocketAddr; 3], nats: SocketAddr) -> Self {
        let cluster = Cluster::start("gap").await;
        let (url, dir) = (cluster.url().to_owned(), cluster.dir().to_owned());
        migrate(&url, &dir).await;
        let nats = Nats::start(nats).await;
        let with_nats = |role: Role| role.set("NATS_URL", &nats.url());
        let worker = with_nats(work("one", &url, &dir)).started();
        let fronts = addresses.map(|address| with_nats(serve(&url, address, &dir)).started());
        for address in addresses {
            healthy(address).await;
        }
        Self {
            cluster,
            nats,
            fronts,
            worker,
        }
    }

    /// Each of these once, evenly spread over the stream.
    async fn rage(&mut self, sending: &Sending) {
        let blows = 6;
        let apart = EVENTS / (blows + 1);
        for blow in 0..blows {
            sending.reaches((blow + 1) * apart).await;
            match blow {
                // The node that events are sent to is not among them: its loss is the storm's.
                0 | 3 => self.restart_front(1).await,
                1 => {
                    self.nats.kill().await;
                    sending.reaches((blow + 1) * apart + apart / 2).await;
                    self.nats.start_again().await;
                }
                2 => {
                    self.cluster.stop_at_once().await;
                    self.cluster.start_again().await;
                }
                4 => self.restart_front(2).await,
                _ => {
                    self.worker.kill().await;
                    self.worker.start();
                }
            }
        }
    }

    async fn restart_front(&mut self, index: usize) {
        self.fronts[index].kill().await;
        self.fronts[index].start();
    }
}

#[tokio::test]
async fn every_client_hears_every_number_once_and_in_order_whoever_dies() {
    let [one, two, three, four] = free_addresses();
    let addresses = [one, two, three];
    let mut nodes = Nodes::start(addresses, four).await;
    let (crowd, clients) = Crowd::gather(addresses);
    let load = Load {
        events: EVENTS,
        users: USERS,
        pace: Duration::from_millis(300),
    };
    let mut sending = load.start(addresses[0]);

    nodes.rage(&sending).await;
    sending.finish().await;

    eventually(END_MAX, async || {
        assert!(
            !clients.iter().any(JoinHandle::is_finished),
            "a client heard what it should not have"
        );
        crowd.has_heard_all(sending.load())
    })
    .await;
    crowd.is_over.store(true, Ordering::Release);
    // They did leave and come back, and not only when somebody died.
    assert!(crowd.opened.load(Ordering::Acquire) > 5 * CLIENTS);
    let pool: PgPool = nodes.cluster.pool().await;
    let heads: i64 = sqlx::query_scalar("select count(*) from inbox_heads where seq = $1")
        .bind((EVENTS / USERS) as i64)
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_eq!(heads, USERS as i64);
    for front in &mut nodes.fronts {
        front.assert_runs();
    }
}

/// What is read at one node is told at another, with NATS, when it is away, and when it is back.
#[tokio::test]
async fn what_is_read_and_what_arrives_at_one_node_is_told_at_another() {
    let [one, two, three, four] = free_addresses();
    let mut nodes = Nodes::start([one, two, three], four).await;
    let mut tab = Tab::open(two).await;
    assert_eq!(tab.hear("hello").await["seq"], 0);

    for round in 1..=3 {
        match round {
            2 => nodes.nats.kill().await,
            3 => nodes.nats.start_again().await,
            _ => {}
        }
        tab.send_to_itself(one, round).await;
        let told = tab.hear("notification").await;
        assert_eq!(told["seq"], round);
        let ack = json!({"up_to_seq": round});
        tab.post(three, "/v1/notifications/ack", ack).await;
        let read = tab.hear("read").await;
        assert_eq!(
            read,
            json!({"type": "read", "ids": [told["id"]], "unread": 0})
        );
    }
}

/// A user's tab at one node, and what they do at others.
struct Tab {
    socket: tokio_tungstenite::WebSocketStream<
        tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>,
    >,
    client: reqwest::Client,
    token: String,
}

impl Tab {
    async fn open(address: SocketAddr) -> Self {
        let secret = Secret::new(JWT_SECRET);
        let (tenant, user) = (TenantId::default(), UserId::from("reader"));
        let hour = Duration::from_hours(1);
        let token = issue_token(&secret, &tenant, &user, Utc::now(), hour).unwrap();
        let url = format!("ws://{address}/v1/ws?token={token}");
        let (socket, _) = connect_async(url).await.unwrap();
        let client = reqwest::Client::new();
        Self {
            socket,
            client,
            token,
        }
    }

    /// The next frame, which must be of this type.
    async fn hear(&mut self, kind: &str) -> Value {
        loop {
            let next = timeout(SILENCE_MAX, self.socket.next()).await;
            let message = next.expect("the node says something in time");
            if let Message::Text(text) = message.unwrap().unwrap() {
                let frame: Value = serde_json::from_str(&text).unwrap();
                assert_eq!(frame["type"], kind, "{frame}");
                return frame;
            }
        }
    }

    async fn post(&self, address: SocketAddr, path: &str, body: Value) {
        let url = format!("http://{address}{path}");
        let request = self.client.post(url).bearer_auth(&self.token).json(&body);
        let answer = request.send().await.unwrap();
        assert!(answer.status().is_success(), "{answer:?}");
    }

    async fn send_to_itself(&self, address: SocketAddr, round: i64) {
        let body = json!({
            "user_id": "reader", "channels": ["in_app"], "content": format!("number {round}"),
        });
        let url = format!("http://{address}/v1/notifications");
        let request = self.client.post(url).bearer_auth(super::fleet::API_KEY);
        let answer = request.json(&body).send().await.unwrap();
        assert_eq!(answer.status(), 202);
    }
}
