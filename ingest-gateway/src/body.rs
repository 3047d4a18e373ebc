//! Reading a body: how it may be coded, how large it may be.

use crate::admission::{Limits, Place};
use axum::body::Body;
use bytes::{Bytes, BytesMut};
use flate2::write::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use http::{HeaderMap, HeaderValue, header};
use http_body::{Body as _, Frame};
use http_body_util::BodyExt as _;
use std::{
    io::{self, Write},
    pin::pin,
    task::Poll,
    time::Duration,
};

/// How long a refused client may go on sending.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(2);
/// How much a refused client may go on sending, in bytes.
const DISCARD_BYTES_MAX: usize = 8 * 1_024 * 1_024;

/// Room made at once for the rest of a body, in bytes.
const ROOM_MAX: usize = 64 * 1_024;

/// Why there is no body to work on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unread {
    /// Over a limit, as sent.
    TooLarge,
    /// Over the limit once decoded.
    DecodedTooLarge,
    /// Came too slowly.
    Slow,
    /// The connection broke off, or its framing was wrong.
    Broken,
    /// Not what its content coding says.
    Miscoded,
    /// No room for it now.
    NoRoom,
    /// Others needed the room that it held while it came.
    GaveWay,
}

/// A content coding that can be taken off (RFC 9110, 8.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coding {
    Identity,
    Gzip,
    Deflate,
}

/// The body's coding; `None` where it is one that is not known here, or several over each other.
pub(crate) fn coding(headers: &HeaderMap) -> Option<Coding> {
    let mut values = headers.get_all(header::CONTENT_ENCODING).iter();
    let coding = match (values.next(), values.next()) {
        (None, _) => return Some(Coding::Identity),
        (Some(value), None) => value.to_str().ok()?.trim(),
        _ => return None,
    };
    let is = |name: &str| coding.eq_ignore_ascii_case(name);
    if coding.is_empty() || is("identity") {
        Some(Coding::Identity)
    } else if is("gzip") || is("x-gzip") {
        Some(Coding::Gzip)
    } else if is("deflate") {
        Some(Coding::Deflate)
    } else {
        None
    }
}

/// Whether a body of this content type cannot be an event of any provider. Refused is only what is certainly something
/// else: media, pages, archives, XML. Providers mislabel JSON in every other way (Amazon SNS says `text/plain`), and some
/// say nothing. Raw mail is taken where the provider takes it.
pub(crate) fn is_foreign(headers: &HeaderMap, takes_mail: bool) -> bool {
    // Of several types one would be right at best.
    headers.get_all(header::CONTENT_TYPE).iter().any(|value| is_foreign_type(value, takes_mail))
}

fn is_foreign_type(value: &HeaderValue, takes_mail: bool) -> bool {
    if value.as_bytes().eq_ignore_ascii_case(b"application/json") {
        return false;
    }
    let Ok(value) = value.to_str() else { return true };
    let essence = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let (kind, subtype) = essence.split_once('/').unwrap_or((&essence, ""));
    match kind {
        "image" | "audio" | "video" | "font" | "model" => true,
        "message" => !takes_mail,
        "multipart" => subtype != "form-data",
        "text" => matches!(subtype, "html" | "xml" | "css" | "csv" | "javascript"),
        "application" => {
            subtype.ends_with("xml")
                || subtype.ends_with("zip")
                || matches!(
                    subtype,
                    "pdf" | "javascript" | "msgpack" | "x-msgpack" | "protobuf" | "x-protobuf" | "cbor"
                )
        }
        _ => false,
    }
}

/// Reads and decodes a body within the limits; `place` counts what it holds.
pub(crate) async fn read(body: &mut Body, coding: Coding, limits: &Limits, place: &mut Place) -> Result<Bytes, Unread> {
    if body.size_hint().lower() > limits.body_bytes_max as u64 {
        return Err(Unread::TooLarge);
    }
    let sent = collect(body, limits.body_bytes_max, place).await?;
    place.is_whole();
    let held = place.held();
    match taken_off(&sent, coding, limits, place) {
        Err(Unread::NoRoom) => {
            // How much it will be nobody knows before: once others have given way for as much as it may be, it is tried again.
            place.shrink(held);
            if !place.grow_or_wait(limits.decoded_bytes_max).await {
                return Err(Unread::NoRoom);
            }
            place.shrink(held);
            taken_off(&sent, coding, limits, place)
        }
        done => done,
    }
}

fn taken_off(sent: &Bytes, coding: Coding, limits: &Limits, place: &mut Place) -> Result<Bytes, Unread> {
    match coding {
        Coding::Identity => Ok(sent.clone()),
        Coding::Gzip => decode(sent, limits, place, MultiGzDecoder::new),
        Coding::Deflate if is_zlib(sent) => decode(sent, limits, place, ZlibDecoder::new),
        Coding::Deflate => decode(sent, limits, place, DeflateDecoder::new),
    }
}

/// Frames as they come; a body of one frame is not copied.
async fn collect(body: &mut Body, bytes_max: usize, place: &mut Place) -> Result<Bytes, Unread> {
    let (mut first, mut all) = (Bytes::new(), BytesMut::new());
    while let Some(frame) = next(body, place).await? {
        let frame =
            frame.map_err(|error| if service::serve::is_slow(&error) { Unread::Slow } else { Unread::Broken })?;
        let Ok(data) = frame.into_data() else { continue };
        if first.len() + all.len() + data.len() > bytes_max {
            return Err(Unread::TooLarge);
        }
        if !place.grow_or_wait(data.len()).await {
            return Err(Unread::NoRoom);
        }
        if all.is_empty() && first.is_empty() {
            first = data;
        } else {
            if all.is_empty() {
                // As much as is said to come, within reason: a length alone holds no memory.
                let rest = usize::try_from(body.size_hint().lower()).unwrap_or(0).min(ROOM_MAX);
                all.reserve(first.len() + data.len() + rest);
                all.extend_from_slice(&first);
                first.clear();
            }
            all.extend_from_slice(&data);
        }
    }
    Ok(if all.is_empty() { first } else { all.freeze() })
}

type Framed = Option<Result<Frame<Bytes>, axum::Error>>;

/// The next frame. Who waits for his client may have to give way to others.
async fn next(body: &mut Body, place: &mut Place) -> Result<Framed, Unread> {
    let (mut frame, mut asked) = (pin!(body.frame()), false);
    // What has come already is handed over between two polls: only who is not there by then is waited for.
    let at_once = std::future::poll_fn(|cx| match frame.as_mut().poll(cx) {
        Poll::Ready(frame) => Poll::Ready(Some(frame)),
        Poll::Pending if asked => Poll::Ready(None),
        Poll::Pending => {
            asked = true;
            cx.waker().wake_by_ref();
            Poll::Pending
        }
    });
    if let Some(frame) = at_once.await {
        return Ok(frame);
    }
    let coming = place.wait_for_client();
    tokio::select! {
        biased;
        frame = frame => Ok(frame),
        () = coming.asked_to_leave() => Err(Unread::GaveWay),
    }
}

/// Throws away what is left of a body, so that a client that is still sending gets to read its refusal instead of a reset
/// connection. Bounded in bytes and time; nothing is held.
pub(crate) async fn discard(body: &mut Body) {
    if body.is_end_stream() {
        return;
    }
    let rest = async {
        let mut left = DISCARD_BYTES_MAX;
        while let Some(Ok(frame)) = body.frame().await {
            let bytes = frame.data_ref().map_or(0, Bytes::len);
            match left.checked_sub(bytes) {
                Some(fewer) => left = fewer,
                None => return,
            }
        }
    };
    // What is not thrown away in time is cut off with the connection.
    let _ = tokio::time::timeout(DISCARD_TIMEOUT, rest).await;
}

/// Whether a `deflate` body has zlib's head (RFC 1950), as the standard wants; some clients send bare deflate.
fn is_zlib(body: &[u8]) -> bool {
    matches!(body, [method, flags, ..] if method & 0x0f == 8 && (u16::from(*method) << 8 | u16::from(*flags)) % 31 == 0)
}

/// A decoder over a [`Bounded`] sink.
trait Decoder<'p>: Write {
    fn finish_into(self) -> io::Result<Bounded<'p>>;
    fn sink(&self) -> &Bounded<'p>;
}

macro_rules! decoder {
    ($($name:ident),+) => {$(
        impl<'p> Decoder<'p> for $name<Bounded<'p>> {
            fn finish_into(self) -> io::Result<Bounded<'p>> { self.finish() }
            fn sink(&self) -> &Bounded<'p> { self.get_ref() }
        }
    )+};
}
decoder!(MultiGzDecoder, ZlibDecoder, DeflateDecoder);

fn decode<'p, D: Decoder<'p>>(
    sent: &[u8],
    limits: &Limits,
    place: &'p mut Place,
    decoder: impl FnOnce(Bounded<'p>) -> D,
) -> Result<Bytes, Unread> {
    let sink = Bounded { out: Vec::new(), bytes_max: limits.decoded_bytes_max, place, over: None };
    let mut decoder = decoder(sink);
    if decoder.write_all(sent).is_err() {
        return Err(decoder.sink().over.unwrap_or(Unread::Miscoded));
    }
    // What is still inside comes out here, where the sink is gone if it fails: so flush first.
    if decoder.flush().is_err() {
        return Err(decoder.sink().over.unwrap_or(Unread::Miscoded));
    }
    let sink = decoder.finish_into().map_err(|_| Unread::Miscoded)?;
    Ok(Bytes::from(sink.out))
}

/// Takes decoded bytes up to a limit, each counted before it is held.
struct Bounded<'p> {
    out: Vec<u8>,
    bytes_max: usize,
    place: &'p mut Place,
    over: Option<Unread>,
}

impl Write for Bounded<'_> {
    fn write(&mut self, decoded: &[u8]) -> io::Result<usize> {
        if self.out.len() + decoded.len() > self.bytes_max {
            self.over = Some(Unread::DecodedTooLarge);
        } else if !self.place.grow(decoded.len()) {
            self.over = Some(Unread::NoRoom);
        }
        if self.over.is_some() {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.out.extend_from_slice(decoded);
        Ok(decoded.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
