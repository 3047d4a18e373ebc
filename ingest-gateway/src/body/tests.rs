use super::*;
use crate::admission::Admission;
use flate2::{
    Compression,
    write::{DeflateEncoder, GzEncoder, ZlibEncoder},
};

fn limits() -> Limits {
    Limits { body_bytes_max: 1_000, decoded_bytes_max: 2_000, in_flight_bytes_max: 10_000, ..Limits::default() }
}

async fn read_all(sent: Vec<u8>, coding: Coding, limits: &Limits) -> Result<Vec<u8>, Unread> {
    let mut place = Admission::new(limits).enter().await.unwrap();
    read(&mut Body::from(sent), coding, limits, &mut place).await.map(|body| body.to_vec())
}

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

fn zlib(data: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

fn bare_deflate(data: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn takes_codings_off() {
    let text = br#"{"event":"bounce"}"#.repeat(40);
    assert_eq!(read_all(text.clone(), Coding::Identity, &limits()).await.unwrap(), text);
    assert_eq!(read_all(gzip(&text), Coding::Gzip, &limits()).await.unwrap(), text);
    assert_eq!(read_all(zlib(&text), Coding::Deflate, &limits()).await.unwrap(), text);
    assert_eq!(read_all(bare_deflate(&text), Coding::Deflate, &limits()).await.unwrap(), text);
    let two: Vec<u8> = [gzip(b"one "), gzip(b"two")].concat();
    assert_eq!(read_all(two, Coding::Gzip, &limits()).await.unwrap(), b"one two");
}

#[tokio::test]
async fn bounds_both_sizes() {
    let check = async |sent: Vec<u8>, coding, expected| {
        assert_eq!(read_all(sent, coding, &limits()).await.unwrap_err(), expected, "{coding:?}");
    };
    check(vec![b'x'; 1_001], Coding::Identity, Unread::TooLarge).await;
    check(gzip(&vec![b'x'; 2_001]), Coding::Gzip, Unread::DecodedTooLarge).await;
    check(gzip(&vec![b'x'; 500_000]), Coding::Gzip, Unread::DecodedTooLarge).await;
    check(zlib(&vec![b'x'; 500_000]), Coding::Deflate, Unread::DecodedTooLarge).await;
    check(bare_deflate(&vec![b'x'; 500_000]), Coding::Deflate, Unread::DecodedTooLarge).await;
    assert_eq!(read_all(gzip(&vec![b'x'; 2_000]), Coding::Gzip, &limits()).await.unwrap().len(), 2_000);
}

#[tokio::test]
async fn refuses_what_is_not_coded_as_it_says() {
    let whole = gzip(&b"some text".repeat(20));
    let mut flipped = whole.clone();
    let at = flipped.len() - 6;
    flipped[at] ^= 0xff;
    for sent in [b"{}".to_vec(), whole[..whole.len() - 9].to_vec(), flipped, vec![0x1f, 0x8b]] {
        assert_eq!(read_all(sent.clone(), Coding::Gzip, &limits()).await, Err(Unread::Miscoded), "{sent:?}");
    }
    assert_eq!(read_all(b"\xff\xff\xff\xff".to_vec(), Coding::Deflate, &limits()).await, Err(Unread::Miscoded));
    let text = b"some text".repeat(20);
    for cut in [zlib(&text), bare_deflate(&text)] {
        let cut = cut[..cut.len() / 2].to_vec();
        assert_eq!(read_all(cut.clone(), Coding::Deflate, &limits()).await, Err(Unread::Miscoded), "{cut:?}");
    }
}

#[tokio::test]
async fn a_body_without_room_is_refused_and_holds_nothing() {
    let limits = Limits { in_flight_bytes_max: 500, ..limits() };
    let admission = Admission::new(&limits);
    let mut place = admission.enter().await.unwrap();
    let mut body = Body::from(vec![b'x'; 501]);
    assert_eq!(read(&mut body, Coding::Identity, &limits, &mut place).await, Err(Unread::NoRoom));
    let mut body = Body::from(gzip(&vec![b'x'; 600]));
    assert_eq!(read(&mut body, Coding::Gzip, &limits, &mut place).await, Err(Unread::NoRoom));
    drop(place);
    assert_eq!(admission.bytes(), 0);
}

/// A body of which so much is there, and the rest never comes.
fn stalled(bytes: usize) -> Body {
    use futures_util::StreamExt as _;
    let there = futures_util::stream::iter([Ok::<_, std::convert::Infallible>(vec![b'x'; bytes])]);
    Body::from_stream(there.chain(futures_util::stream::pending()))
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_still_coming_gives_way_to_one_that_is_there() {
    let limits = Limits { in_flight_bytes_max: 1_000, ..limits() };
    let admission = Admission::new(&limits);
    let (mut slow, mut quick) = (admission.enter().await.unwrap(), admission.enter().await.unwrap());
    let comes = async {
        let read = read(&mut stalled(900), Coding::Identity, &limits, &mut slow).await;
        drop(slow);
        read
    };
    let is_there = async {
        tokio::task::yield_now().await;
        read(&mut Body::from(vec![b'y'; 600]), Coding::Identity, &limits, &mut quick).await
    };
    let (gone, taken) = tokio::join!(comes, is_there);
    assert_eq!((gone, taken.unwrap().len()), (Err(Unread::GaveWay), 600));

    // The same for what only shows its size once it is unpacked.
    let limits = Limits { in_flight_bytes_max: 2_100, decoded_bytes_max: 1_900, ..limits };
    let admission = Admission::new(&limits);
    let (mut slow, mut packed) = (admission.enter().await.unwrap(), admission.enter().await.unwrap());
    let comes = async {
        let read = read(&mut stalled(900), Coding::Identity, &limits, &mut slow).await;
        drop(slow);
        read
    };
    let is_there = async {
        tokio::task::yield_now().await;
        read(&mut Body::from(gzip(&[b'y'; 1_800])), Coding::Gzip, &limits, &mut packed).await
    };
    let (gone, taken) = tokio::join!(comes, is_there);
    assert_eq!((gone, taken.unwrap().len()), (Err(Unread::GaveWay), 1_800));
    drop(packed);
    assert_eq!((admission.requests(), admission.bytes()), (0, 0));
}

#[test]
fn knows_codings_and_foreign_types() {
    let with = |name: http::HeaderName, values: &[&'static str]| {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name.clone(), http::HeaderValue::from_static(value));
        }
        headers
    };
    let check = |values: &[&'static str], expected| {
        assert_eq!(coding(&with(header::CONTENT_ENCODING, values)), expected, "{values:?}");
    };
    check(&[], Some(Coding::Identity));
    check(&["identity"], Some(Coding::Identity));
    check(&["GZIP"], Some(Coding::Gzip));
    check(&["x-gzip"], Some(Coding::Gzip));
    check(&["deflate"], Some(Coding::Deflate));
    check(&["br"], None);
    check(&["gzip, gzip"], None);
    check(&["gzip", "gzip"], None);
    let fine = [
        "application/json",
        "application/json; charset=utf-8",
        "text/plain; charset=UTF-8",
        "",
        "nonsense",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/octet-stream",
        "application/vnd.acme+json",
        "application/cloudevents+json",
        "*/*",
    ];
    for fine in fine {
        assert!(!is_foreign(&with(header::CONTENT_TYPE, &[fine]), false), "{fine}");
    }
    let foreign = [
        "image/png",
        "text/html",
        "text/xml; charset=utf-8",
        "application/xml",
        "application/soap+xml",
        "multipart/mixed",
        "application/pdf",
        "application/zip",
        "application/gzip",
        "message/rfc822",
        "text/csv",
    ];
    for foreign in foreign {
        assert!(is_foreign(&with(header::CONTENT_TYPE, &[foreign]), false), "{foreign}");
    }
    assert!(!is_foreign(&HeaderMap::new(), false));
    assert!(!is_foreign(&with(header::CONTENT_TYPE, &["message/rfc822"]), true));
    assert!(is_foreign(&with(header::CONTENT_TYPE, &["image/png"]), true));
    assert!(is_foreign(&with(header::CONTENT_TYPE, &["application/json", "text/html"]), false));
    assert!(!is_foreign(&with(header::CONTENT_TYPE, &["application/json", "text/plain"]), false));
}

proptest::proptest! {
    /// Whatever is sent, under whatever coding: no panic, nothing over the limit, and nothing held afterwards.
    #[test]
    fn any_bytes_are_read_within_the_limits_or_refused(
        sent in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..1_500),
        packed in proptest::prelude::any::<bool>(),
        coding in proptest::sample::select(vec![Coding::Identity, Coding::Gzip, Coding::Deflate]),
        cut in 0usize..40,
    ) {
        let mut body = if packed { gzip(&sent) } else { sent.clone() };
        body.truncate(body.len().saturating_sub(cut));
        let limits = limits();
        let admission = Admission::new(&limits);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let mut place = runtime.block_on(admission.enter()).unwrap();
        let read = runtime.block_on(read(&mut Body::from(body.clone()), coding, &limits, &mut place));
        if let Ok(read) = &read {
            proptest::prop_assert!(read.len() <= limits.decoded_bytes_max);
            if coding == Coding::Gzip && packed && cut == 0 {
                proptest::prop_assert_eq!(read, &sent);
            }
        } else if coding == Coding::Identity {
            proptest::prop_assert!(body.len() > limits.body_bytes_max);
        }
        drop(place);
        proptest::prop_assert_eq!(admission.bytes(), 0);
    }
}
