//! Who changes something from the command line: every change is signed in the audit.

use domain::TenantId;
use queue::Clock;
use serde_json::Value;
use store::audit::{AuditEntry, record};
use store::{Connection, StoreError};

/// Notes a change in its transaction. Without a tenant it is the installation's own.
pub(super) async fn sign(
    tx: &mut Connection,
    action: &str,
    subject: &str,
    detail: Option<Value>,
) -> Result<(), StoreError> {
    let now = Clock::system().now();
    let entry = AuditEntry {
        audit_id: queue::uuid_at(now),
        at: now,
        tenant_id: TenantId::default(),
        actor: actor(),
        action: action.to_owned(),
        subject: subject.to_owned(),
        detail,
    };
    record(tx, &[entry]).await
}

/// Who types, in the words of the audit: the name of the system's user, else its number.
pub(super) fn actor() -> String {
    let uid = rustix::process::getuid().as_raw();
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = name_of(&passwd, uid);
    format!("cli:{}", name.unwrap_or_else(|| uid.to_string()))
}

fn name_of(passwd: &str, uid: u32) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let found: u32 = fields.nth(1)?.parse().ok()?;
        (found == uid).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_named_as_the_system_names_it() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nada:x:1000:1000::/home/ada:/bin/sh\n";

        assert_eq!(name_of(passwd, 1000).as_deref(), Some("ada"));
        assert_eq!(name_of(passwd, 7), None);
        assert!(actor().starts_with("cli:"));
    }
}
