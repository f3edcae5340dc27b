//! The API as its description has it: Schemathesis makes up requests from `/openapi.json`, good and
//! bad ones, alone and in sequences, and holds every answer against it.

use std::path::Path;

use tokio::process::Command;

use crate::front::ADMIN_KEY;
use crate::house::House;

/// Requests made up per operation and phase.
const EXAMPLES: &str = "15";

#[tokio::test]
async fn every_answer_is_as_the_description_says() {
    let house = House::with_outbox().await;
    let python = std::env::var("POSTRIDER_TEST_PYTHON").expect(
        "POSTRIDER_TEST_PYTHON names no Python with schemathesis; run the tests by script/test, \
         which gets one",
    );
    let settings = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/schemathesis.toml");
    let output = Command::new(python)
        .args(["-m", "schemathesis.cli", "--config-file"])
        .arg(settings)
        .args(["run", &house.front.url("/openapi.json")])
        .args(["--header", &format!("Authorization: Bearer {ADMIN_KEY}")])
        .args(["--phases", "examples,coverage,fuzzing,stateful"])
        .args(["--max-examples", EXAMPLES])
        // The same requests every time: what fails here fails on the next machine too.
        .args([
            "--generation-deterministic",
            "--generation-allow-x00",
            "false",
        ])
        .args(["--workers", "2", "--no-color"])
        .current_dir(std::env::temp_dir())
        .output()
        .await
        .unwrap();
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{report}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(report.contains("Stateful"), "{report}");
}
