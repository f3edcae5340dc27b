//! The headless client in front of a server that a page makes up, to be as unlucky as is needed.

use serde_json::{Value, json};

use super::{Visit, house};
use crate::browser::Browser;

/// A server of sockets that open and say what a test says, and of answers by the end of a path.
const SERVER: &str = "
    window.sockets = []; window.asked = []; window.answers = {};
    window.WebSocket = class {
        static OPEN = 1;
        readyState = 1;
        constructor() { this.at = Date.now(); sockets.push(this); }
        send() {}
        close() {}
        say(frame) { this.onmessage({ data: JSON.stringify(frame) }); }
    };
    window.fetch = async (address) => {
        const name = new URL(address).pathname.split('/').at(-1);
        asked.push(name);
        const [status, answer] = await answers[name]();
        return new Response(JSON.stringify(answer), { status });
    };
    answers.ticket = () => [200, { ticket: 't' }];
    window.heard = [];
    window.begin = async (options) => {
        const { Feed, PostriderClient } = await import('/web/client.js');
        window.client = new PostriderClient({ token: 'a.b.c', ...options });
        window.feed = new Feed(client);
        for (const type of ['hello', 'resync', 'notification', 'read']) {
            client.addEventListener(type, ({ detail }) => heard.push(`${type} ${detail.seq}`));
        }
        client.connect();
    };
    window.greet = () => sockets[0]?.say({ type: 'hello', seq: 2, unread: 2 }) ?? true;
    window.arrive = (seq) => sockets[0].say({ type: 'notification', seq, id: `n${seq}` });
    window.listed = [2, 1].map((seq) => ({ id: `n${seq}`, in_app: { seq } }));
    answers.notifications = () => [200, { items: listed }];
";

/// A hundred times faster, and always the longest pause.
const FAST: &str = "
    const begun = Date.now();
    const [setLater, tell] = [setTimeout, Date.now.bind(Date)];
    Date.now = () => begun + (tell() - begun) * 100;
    window.setTimeout = (done, pause) => setLater(done, pause / 100);
    window.setInterval = () => 0;
    Math.random = () => 0.999;
";

struct Page {
    visit: Visit,
}

impl Page {
    /// A page whose client has begun, once `script` has said what the server is like.
    async fn begin(script: &str, options: &Value) -> Self {
        let visit = Visit {
            house: house().await,
            browser: Browser::start().await,
        };
        visit.browser.open(&visit.house.front, "/web/").await;
        let script = format!("{SERVER}{script}; return begin(arguments[0])");
        visit.browser.run(&script, json!([options])).await;
        Self { visit }
    }

    /// The same, with two items listed and a socket that has said hello.
    async fn live(script: &str) -> Self {
        let page = Self::begin(script, &json!({})).await;
        page.visit.browser.until("return sockets.length").await;
        page.run("greet(); return feed.load()").await;
        page
    }

    async fn run(&self, script: &str) -> Value {
        self.visit.browser.run(script, json!([])).await
    }
}

#[tokio::test]
async fn pauses_grow_while_a_server_takes_sockets_and_never_says_hello() {
    let page = Page::begin(FAST, &json!({"transport": "websocket"})).await;

    page.visit.browser.until("return sockets.length > 5").await;

    // Each waits ten seconds for its hello.
    let pause = page.run("return sockets[5].at - sockets[4].at - 10_000");
    let pause = pause.await.as_f64().unwrap();
    assert!(pause > 8_000.0, "{pause} ms after the fifth");
}

#[tokio::test]
async fn a_poll_with_a_gap_still_tells_what_comes_with_it() {
    let polls = "
        const row = (seq) => ({ seq, id: `n${seq}` });
        const polls = [
            { items: [], seq: 3, unread: 1, resync: false },
            { items: [row(8), row(9)], seq: 9, unread: 3, resync: true },
        ];
        answers.poll = () => polls.length ? [200, polls.shift()] : new Promise(() => {})";
    let page = Page::begin(polls, &json!({"transport": "poll"})).await;

    page.visit.browser.until("return client.seq === 9").await;

    let heard = page.run("return heard.join()").await;
    assert_eq!(heard, "hello 3,resync 7,notification 8,notification 9");
}

#[tokio::test]
async fn a_poll_tells_of_marks_by_its_number_or_by_ending_early() {
    let polls = "
        const said = (items, unread) => ({ items, seq: 3 + items.length, unread, resync: false });
        const polls = [said([], 2), said([], 2), said([{ seq: 4, id: 'n4' }], 1)];
        answers.poll = () => polls.length ? [200, polls.shift()] : new Promise(() => {})";
    let page = Page::begin(polls, &json!({"transport": "poll"})).await;

    page.visit
        .browser
        .until("return client.seq === 4 && client.unread === 1")
        .await;

    // The first was archived when it had been read, the second read as another came.
    let heard = page.run("return heard.join()").await;
    assert_eq!(
        heard,
        "hello 3,read undefined,notification 4,read undefined"
    );
}

#[tokio::test]
async fn an_arrival_that_a_count_held_already_is_counted_anew() {
    let page = Page::live("answers['unread-count'] = () => [200, { unread: 3 }]").await;

    page.run("sockets[0].say({ type: 'read', ids: [], unread: 3 }); arrive(3); arrive(4)")
        .await;
    assert_eq!(page.run("return client.unread").await, 5);

    page.visit.browser.until("return client.unread === 3").await;
    let counts = "return asked.filter((name) => name === 'unread-count').length";
    assert_eq!(page.run(counts).await, 1);
}

#[tokio::test]
async fn what_arrives_while_a_change_fails_stays_in_the_list() {
    let page = Page::live(
        "window.fail = [];
         const later = () => new Promise((done) => fail.push(() => done([500, {}])));
         answers.archive = later; answers.ack = later",
    )
    .await;
    let list = "return feed.items.map((item) => item.id + (item.read_at ? ' read' : '')).join()";

    page.run("feed.archive(feed.items[0])").await;
    page.visit.browser.until("return fail.length === 1").await;
    page.run("arrive(3); fail[0]()").await;
    page.visit
        .browser
        .until(&format!(
            "return (() => {{ {list} }})() === 'n3,n2,n1' && feed.error"
        ))
        .await;

    page.run("feed.markAllRead()").await;
    page.visit.browser.until("return fail.length === 2").await;
    assert_eq!(page.run(list).await, "n3 read,n2 read,n1 read");
    page.run("arrive(4); fail[1]()").await;
    page.visit
        .browser
        .until(&format!("return (() => {{ {list} }})() === 'n4,n3,n2,n1'"))
        .await;
}
