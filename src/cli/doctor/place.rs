//! Checks of the machine: its limits, the address to listen on, the data directory.

use std::fs::OpenOptions;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use rustix::process::{Resource, getrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::super::Common;
use super::{LOOK, Report};
use crate::config::Config;

/// Files a process should be able to open: each socket of the feed is one.
const OPEN_FILES_MIN: u64 = 4096;

/// Most of an answer to `/health` that is read.
const ANSWER_BYTES_MAX: u64 = 16 * 1024;

pub(super) async fn look(config: &Config, common: &Common, report: &mut Report) {
    look_at_open_files(report);
    look_at_address(config.http.listen, report).await;
    look_at_data_dir(&common.data_dir, report);
}

fn look_at_open_files(report: &mut Report) {
    const CHECK: &str = "open files";
    match getrlimit(Resource::Nofile).current {
        Some(limit) if limit < OPEN_FILES_MIN => report.warn(
            CHECK,
            format!("at most {limit}, and every socket of the feed is one"),
            format!("raise it: `ulimit -n {OPEN_FILES_MIN}` or more, or LimitNOFILE in systemd"),
        ),
        Some(limit) => report.ok(CHECK, format!("at most {limit}")),
        None => report.ok(CHECK, "without limit"),
    }
}

async fn look_at_address(address: SocketAddr, report: &mut Report) {
    const CHECK: &str = "http address";
    match TcpListener::bind(address).await {
        Ok(_) => return report.ok(CHECK, format!("{address} is free")),
        Err(error) if error.kind() == ErrorKind::AddrInUse => {}
        Err(error) => {
            return report.fail(
                CHECK,
                format!("{address} cannot be listened on: {error}"),
                "choose another http.listen",
            );
        }
    }
    match timeout(LOOK, ask_health(address)).await {
        Ok(Ok(answer)) if answer.contains("\"status\":\"ok\"") => {
            report.ok(
                CHECK,
                format!("{address} answers as Postrider, and is healthy"),
            );
        }
        Ok(Ok(answer)) if answer.contains("application/problem+json") => report.warn(
            CHECK,
            format!("{address} answers as Postrider, and is not healthy"),
            "see the lines about the database, and the log of that process",
        ),
        _ => report.fail(
            CHECK,
            format!("{address} is taken by something else"),
            "stop what listens there, or choose another http.listen",
        ),
    }
}

/// Asks whoever listens for `/health` and answers what was said.
async fn ask_health(address: SocketAddr) -> io::Result<String> {
    let mut near = address;
    // A wildcard address is listened on, not connected to.
    if near.ip().is_unspecified() {
        near.set_ip(match near.ip() {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        });
    }
    let mut stream = TcpStream::connect(near).await?;
    let request = format!("GET /health HTTP/1.1\r\nhost: {near}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream
        .take(ANSWER_BYTES_MAX)
        .read_to_end(&mut answer)
        .await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Only `up` keeps anything there; what cannot be written to is no failure of other roles.
fn look_at_data_dir(dir: &Path, report: &mut Report) {
    const CHECK: &str = "data directory";
    let shown = dir.display();
    // What does not exist is made by `up`, in the nearest directory that does.
    let mut nearest = dir;
    while !nearest.exists() {
        nearest = match nearest.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
    }
    match try_writing(nearest) {
        Ok(()) if nearest == dir => report.ok(CHECK, format!("{shown} can be written to")),
        Ok(()) => report.ok(CHECK, format!("{shown} can be made")),
        Err(error) => report.warn(
            CHECK,
            format!("{shown} cannot be written to: {error}"),
            "`postrider up` needs it: change its owner, or choose another --data-dir",
        ),
    }
}

fn try_writing(dir: &Path) -> io::Result<()> {
    let path = dir.join(format!(".postrider-doctor-{}", std::process::id()));
    drop(
        OpenOptions::new()
            .create_new(true)
            .write(true)
            .open(&path)?,
    );
    std::fs::remove_file(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::Verdict;

    async fn at(address: SocketAddr) -> (Verdict, String) {
        let mut report = Report::default();
        look_at_address(address, &mut report).await;
        let finding = report.findings.pop().unwrap();
        (finding.verdict, finding.seen)
    }

    /// Answers one connection with `answer`.
    async fn listening(answer: &'static str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio_util::task::TaskTracker::new().spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 512];
            let read = stream.read(&mut request).await.unwrap();
            assert!(request[..read].starts_with(b"GET /health "));
            stream.write_all(answer.as_bytes()).await.unwrap();
            drop(stream);
            std::future::pending::<()>().await;
        });
        address
    }

    #[tokio::test]
    async fn an_address_is_free_ours_or_somebody_elses() {
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        assert_eq!(at(address).await.0, Verdict::Ok);

        let ours = listening("HTTP/1.1 200 OK\r\n\r\n{\"status\":\"ok\"}").await;
        assert_eq!(at(ours).await.0, Verdict::Ok);
        let ill = "HTTP/1.1 503 X\r\ncontent-type: application/problem+json\r\n\r\n{}";
        assert_eq!(at(listening(ill).await).await.0, Verdict::Warn);
        let (verdict, seen) = at(listening("220 mail.example\r\n").await).await;
        assert_eq!(verdict, Verdict::Fail);
        assert!(seen.ends_with("is taken by something else"), "{seen}");
    }

    #[test]
    fn a_directory_that_can_be_made_is_fine_and_nothing_is_left_in_it() {
        let parent = std::env::temp_dir().join(format!("postrider-place-{}", std::process::id()));
        std::fs::create_dir(&parent).unwrap();
        let mut report = Report::default();

        look_at_data_dir(&parent.join("a/b"), &mut report);
        look_at_data_dir(Path::new("/proc/none"), &mut report);

        assert_eq!(report.findings[0].verdict, Verdict::Ok);
        assert_eq!(report.findings[1].verdict, Verdict::Warn);
        std::fs::remove_dir(parent).expect("nothing was left in it");
    }
}
