//! Every payload shape ever shipped still parses: rows outlive deploys.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use queue::Job;
use serde::Deserialize;
use serde_json::Value;
use workers::{BatchFlush, Deliver, Noop, QuietHours, Render, Replay, Retry, Route, Schedule};

/// One folder per kind, one file per shape.
fn goldens() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/payloads")
}

fn shapes_of(kind: &str) -> Vec<(PathBuf, Value)> {
    let folder = goldens().join(kind);
    let files =
        fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    files
        .map(|file| {
            let path = file.unwrap().path();
            let value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
            (path, value)
        })
        .collect()
}

/// Parses every shape of `J`, and finds what is written today among them.
fn assert_shapes_parse<J: Job>() {
    let shapes = shapes_of(J::KIND);
    assert!(!shapes.is_empty(), "{} has no golden payload", J::KIND);
    for (path, shape) in shapes {
        let job =
            J::deserialize(&shape).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(
            serde_json::to_value(&job).unwrap(),
            shape,
            "{}",
            path.display()
        );

        // A later version may add fields; the one that is running during a deploy ignores them.
        let mut extended = shape;
        extended["added_later"] = Value::from(1);
        assert!(J::deserialize(&extended).is_ok(), "{}", path.display());
    }
}

#[test]
fn every_shape_of_every_kind_parses_and_is_written_the_same_way() {
    assert_shapes_parse::<Route>();
    assert_shapes_parse::<Render>();
    assert_shapes_parse::<Deliver>();
    assert_shapes_parse::<Retry>();
    assert_shapes_parse::<QuietHours>();
    assert_shapes_parse::<BatchFlush>();
    assert_shapes_parse::<Replay>();
    assert_shapes_parse::<Schedule>();
    assert_shapes_parse::<Noop>();
}

#[test]
fn every_golden_folder_is_a_kind() {
    let folders: BTreeSet<String> = fs::read_dir(goldens())
        .unwrap()
        .map(|folder| folder.unwrap().file_name().into_string().unwrap())
        .collect();

    let kinds = [
        Route::KIND,
        Render::KIND,
        Deliver::KIND,
        Retry::KIND,
        QuietHours::KIND,
        BatchFlush::KIND,
        Replay::KIND,
        Schedule::KIND,
        Noop::KIND,
    ];
    assert_eq!(folders, kinds.map(str::to_owned).into());
}

#[test]
fn a_payload_without_its_id_does_not_parse() {
    assert!(Route::deserialize(&serde_json::json!({})).is_err());
    assert!(Deliver::deserialize(&serde_json::json!({"delivery_id": "7"})).is_err());
}
