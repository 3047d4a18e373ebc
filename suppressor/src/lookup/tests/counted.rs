//! Every answer is counted under the pattern of its path.

use super::bed::{Bed, hard, send, token};
use crate::lookup::{Checked, LookupDeps, LookupLimits, LookupMetrics, Role, router};
use axum::body::Body;
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

#[derive(Debug, Default)]
struct Heard(Mutex<Vec<(&'static str, u16)>>, Mutex<Vec<Checked>>);

impl LookupMetrics for Heard {
    fn answered(&self, route: &'static str, status: u16, took: Duration) {
        assert!(took < Duration::from_secs(5));
        self.0.lock().unwrap().push((route, status));
    }

    fn checked(&self, checked: Checked) {
        self.1.lock().unwrap().push(checked);
    }
}

#[tokio::test]
async fn every_answer_is_counted() {
    let (bed, heard) = (Bed::new(), Arc::new(Heard::default()));
    let tokens = vec![token("reader", Role::Read, None)];
    let deps = Bed::deps(&bed.store, &bed.log, &bed.clock, tokens, false, LookupLimits::default());
    let router = router(LookupDeps { metrics: Some(heard.clone()), ..deps });
    let calls = [
        ("GET", "/v1/recipients/jane@example.com", "reader", "/v1/recipients/{address}", 200),
        ("GET", "/v1/recipients/john@example.com", "nobody", "/v1/recipients/{address}", 401),
        ("GET", "/v1/openapi.json", "reader", "/v1/openapi.json", 200),
        ("PUT", "/v1/check", "reader", "/v1/check", 405),
        ("GET", "/v2/jane@example.com", "reader", "other", 404),
    ];
    for (method, uri, who, _, _) in calls {
        let request = http::Request::builder().method(method).uri(uri);
        let request = request.header("authorization", format!("Bearer secret-of-{who}"));
        send(router.clone(), request.body(Body::empty()).unwrap()).await;
    }
    assert_eq!(*heard.0.lock().unwrap(), calls.map(|(_, _, _, route, status)| (route, status)));
}

#[tokio::test]
async fn what_a_check_says_is_counted_in_every_form() {
    let (bed, heard) = (Bed::new(), Arc::new(Heard::default()));
    bed.tell(hard("dead@example.com", 0));
    bed.settle().await;
    let deps = Bed::deps(&bed.store, &bed.log, &bed.clock, Vec::new(), true, LookupLimits::default());
    let router = router(LookupDeps { metrics: Some(heard.clone()), ..deps });
    let forms = [
        ("application/json", r#"{"recipients":["dead@example.com","jane@example.com","joe@example.com","nobody"]}"#),
        ("application/x-ndjson", "dead@example.com\njane@example.com\n\"joe@example.com\"\nnobody\n"),
        ("text/csv", "email\ndead@example.com\njane@example.com\njoe@example.com\nnobody\n"),
    ];
    for (form, body) in forms {
        let request = http::Request::builder().method("POST").uri("/v1/check").header("content-type", form);
        assert_eq!(send(router.clone(), request.body(Body::from(body)).unwrap()).await.status, 200, "{form}");
    }
    assert_eq!(*heard.1.lock().unwrap(), [Checked { free: 2, stopped: 1, unreadable: 1 }; 3]);
}
