//! Large answers in gzip, for clients that take it. What is made piece by piece is compressed piece by piece.

use axum::body::Body;
use bytes::{Buf, Bytes};
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::{Stream, StreamExt, stream};
use http::{HeaderMap, HeaderValue, Response, header};
use std::io::{self, Write};

/// Answers from this size on are worth the work.
pub const COMPRESSED_BYTES_MIN: usize = 128 * 1024;

/// So much is compressed between two looks at whether the client still takes it.
const PIECE_BYTES: usize = 64 * 1024;

/// Marks an answer that is large enough.
#[derive(Clone, Copy, Debug)]
pub struct Large;

/// Whether a client takes gzip.
pub fn is_accepted(headers: &HeaderMap) -> bool {
    let accepted = headers.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
    accepted.split(',').any(|coding| coding.split(';').next().unwrap_or_default().trim() == "gzip")
}

/// Compresses an answer that is marked as large.
pub fn gzip(mut response: Response<Body>) -> Response<Body> {
    if response.extensions_mut().remove::<Large>().is_none() {
        return response;
    }
    let (mut head, body) = response.into_parts();
    head.headers.remove(header::CONTENT_LENGTH);
    head.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    head.headers.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    Response::from_parts(head, Body::from_stream(compressed(body.into_data_stream())))
}

fn compressed<E: Into<axum::BoxError>>(
    pieces: impl Stream<Item = Result<Bytes, E>> + Unpin + Send + 'static,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    let encoder = Some(GzEncoder::new(Vec::new(), Compression::fast()));
    stream::try_unfold((pieces, Bytes::new(), encoder), |(mut pieces, mut rest, encoder)| async move {
        let Some(mut encoder) = encoder else { return Ok(None) };
        loop {
            if rest.is_empty() {
                match pieces.next().await {
                    Some(piece) => rest = piece.map_err(io::Error::other)?,
                    None => return Ok(Some((encoder.finish()?.into(), (pieces, rest, None)))),
                }
            }
            let length = rest.len().min(PIECE_BYTES);
            encoder.write_all(&rest[..length])?;
            rest.advance(length);
            let done = std::mem::take(encoder.get_mut());
            if !done.is_empty() {
                return Ok(Some((done.into(), (pieces, rest, Some(encoder)))));
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::read::GzDecoder;
    use http_body_util::BodyExt;
    use std::io::Read;

    #[tokio::test]
    async fn what_is_large_is_compressed_and_the_same() {
        let text: String = (0..100_000).map(|i| format!("{i},")).collect();
        let mut response = Response::new(Body::from(text.clone()));
        response.extensions_mut().insert(Large);
        let response = gzip(response);
        assert_eq!(response.headers()[header::CONTENT_ENCODING], "gzip");
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        assert!(body.len() < text.len(), "{}", body.len());
        let mut read = String::new();
        GzDecoder::new(&body[..]).read_to_string(&mut read).expect("gzip");
        assert!(read == text);
        assert!(gzip(Response::new(Body::from("x"))).headers().get(header::CONTENT_ENCODING).is_none());
    }

    #[test]
    fn only_who_takes_gzip_gets_it() {
        let accepts = |value: &'static str| {
            is_accepted(&HeaderMap::from_iter([(header::ACCEPT_ENCODING, HeaderValue::from_static(value))]))
        };
        assert!(accepts("gzip") && accepts("deflate, gzip;q=1.0") && !accepts("br") && !is_accepted(&HeaderMap::new()));
    }
}
