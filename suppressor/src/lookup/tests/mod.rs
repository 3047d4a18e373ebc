//! The API driven as a service, over the stage, the store and the log in memory.

mod acts;
mod bed;
mod checks;
mod counted;
mod erasures;
mod follow;
mod incidents;
mod whys;

use super::routes::{OPENAPI, routes};
use bed::Bed;
use std::collections::BTreeSet;

#[test]
fn every_path_is_described_and_nothing_else() {
    let document: serde_json::Value = serde_json::from_str(OPENAPI).unwrap();
    let described: BTreeSet<(String, String)> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, item)| item.as_object().unwrap().keys().map(move |method| (path.clone(), method.clone())))
        .collect();
    let routed: BTreeSet<(String, String)> = routes()
        .iter()
        .flat_map(|(path, methods, _)| methods.iter().map(|method| ((*path).to_owned(), (*method).to_owned())))
        .collect();
    assert_eq!(described, routed);
}

#[test]
fn every_reference_in_the_description_leads_somewhere() {
    fn walk(value: &serde_json::Value, root: &serde_json::Value, count: &mut usize) {
        match value {
            serde_json::Value::Object(fields) => {
                if let Some(target) = fields.get("$ref").and_then(|target| target.as_str()) {
                    assert!(root.pointer(target.trim_start_matches('#')).is_some(), "{target}");
                    *count += 1;
                }
                fields.values().for_each(|field| walk(field, root, count));
            }
            serde_json::Value::Array(items) => items.iter().for_each(|item| walk(item, root, count)),
            _ => {}
        }
    }
    let document: serde_json::Value = serde_json::from_str(OPENAPI).unwrap();
    let mut count = 0;
    walk(&document, &document, &mut count);
    assert!(count > 100, "{count}");
}

/// Each path answers each described method with something else than 404 or 405 of the router itself.
#[tokio::test]
async fn the_router_knows_what_the_table_says() {
    let bed = Bed::new();
    for (path, methods, _) in routes() {
        for method in methods {
            let uri = path.replace("{address}", "jane@example.com").replace("{id}", "r0.0.0.a");
            let answer = bed.call(method, &uri, None, "").await;
            let told = answer.json();
            assert_ne!(answer.status, 405, "{method} {path}");
            assert_ne!(told["detail"], "no such path; see /v1/openapi.json", "{method} {path}");
        }
    }
    let answer = bed.call("PUT", "/v1/check", None, "").await;
    assert_eq!((answer.status, answer.json()["title"].as_str()), (405, Some("the path has no such method")));
    let answer = bed.call("GET", "/v2/check", None, "").await;
    assert_eq!((answer.status, answer.content_type.as_str()), (404, "application/problem+json"));
}
