//! Serves a function whose responses are written as time goes on.
//!
//! Lambda does not tell a function that its client went away, and ends an invocation with its response. So a response
//! is written by a task of its own, through a channel without a limit: the task waits for no client, stops for none,
//! and the invocation lasts until the task is done.
//!
//! Every response has a body. After the head of one without, a 204 for instance, Lambda was seen not to end the
//! response (<https://github.com/aws/aws-lambda-web-adapter/issues/499>, which uses the same runtime): the client waits
//! for the function's timeout. So a stream begins with a comment, whatever becomes of its writer.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::Frame;
use lambda_http::{Body, Request, RequestExt, Response, service_fn};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::{catch, problem, request::refuse_unknown_query};
use crate::{Error, Result, config::ConfigError, telemetry};

/// Reads the chunks of a response's body, as they are written.
pub struct Chunks(UnboundedReceiver<Bytes>);

/// Writes the body of a response, which ends when every clone is dropped.
#[derive(Clone)]
pub struct ChunkWriter(UnboundedSender<Bytes>);

impl ChunkWriter {
    /// Writes a chunk, which is lost when the client is gone.
    pub fn write(&self, chunk: impl Into<Bytes>) {
        let _ = self.0.send(chunk.into());
    }
}

/// Opens a body: its writer, and what reads the chunks.
#[must_use]
pub fn chunks() -> (ChunkWriter, Chunks) {
    let (writer, chunks) = unbounded_channel();
    (ChunkWriter(writer), Chunks(chunks))
}

impl Chunks {
    /// Takes what was written since the last time, for tests.
    pub fn written(&mut self) -> String {
        let chunks = std::iter::from_fn(|| self.0.try_recv().ok());
        chunks.map(|chunk| String::from_utf8_lossy(&chunk).into_owned()).collect()
    }
}

impl From<Body> for Chunks {
    fn from(body: Body) -> Self {
        let (writer, chunks) = chunks();
        if !body.is_empty() {
            writer.write(body.to_vec());
        }
        chunks
    }
}

impl http_body::Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let chunk = self.0.poll_recv(context);
        chunk.map(|chunk| chunk.map(|chunk| Ok(Frame::data(chunk))))
    }
}

/// Runs a function as [`serve`](super::serve) does, with responses that are sent while they are written.
///
/// # Errors
/// As [`serve`](super::serve).
pub async fn serve_streaming<App, Handler, Outcome>(
    configure: impl FnOnce() -> Result<App, ConfigError>,
    handler: Handler,
) -> Result<(), lambda_http::Error>
where
    App: Sync + 'static,
    Handler: Fn(&'static App, Request) -> Outcome + Copy + Send,
    Outcome: Future<Output = Result<Response<Chunks>>> + Send,
{
    telemetry::init();
    let app: &'static App = Box::leak(Box::new(configure()?));
    let service = service_fn(move |request: Request| async move {
        let request_id = request.lambda_context().request_id;
        let outcome = async move {
            refuse_unknown_query(&request, &[])?;
            handler(app, request).await
        };
        match catch(&request_id, outcome).await {
            Ok(response) => Ok(response),
            Err(error) => problem::response(&error, &request_id).map(streamed),
        }
    });
    lambda_http::run_with_streaming_response(service).await
}

/// A comment, which readers of server-sent events skip.
pub const COMMENT: &str = ":\n\n";

/// The end of the AI SDK's streams.
pub const DONE: &str = "data: [DONE]\n\n";

/// Starts a stream of server-sent events, which `write` writes in a task of its own. When it fails or panics, the error
/// is logged, and the stream ends with a comment such as `: internal error, request 1-5f`, which clients skip: whoever
/// looks at the stream sees that it did not end by itself, and which line of the log says why.
///
/// # Errors
/// Never in practice.
pub fn event_stream<Outcome>(request_id: String, write: impl FnOnce(ChunkWriter) -> Outcome) -> Result<Response<Chunks>>
where
    Outcome: Future<Output = Result<()>> + Send + 'static,
{
    let (writer, chunks) = chunks();
    writer.write(COMMENT);
    let task = write(writer.clone());
    tokio::spawn(async move {
        if let Err(error) = catch(&request_id, task).await {
            writer.write(format!(": {} error, request {request_id}\n\n", problem::kind(&error)));
        }
    });
    Response::builder()
        // Without a charset, Python's requests reads Latin-1.
        .header("content-type", "text/event-stream; charset=utf-8")
        // A proxy that compresses holds events back.
        .header("cache-control", "no-cache, no-transform")
        .header("x-accel-buffering", "no") // a proxy such as nginx is to pass each event on at once
        .header("x-vercel-ai-ui-message-stream", "v1")
        .body(chunks)
        .map_err(Error::internal)
}

/// Writes a stream without events, which `useChat` takes for a 204: it shows nothing and is ready.
///
/// # Errors
/// Never in practice.
pub fn no_events(request_id: String) -> Result<Response<Chunks>> {
    event_stream(request_id, |chunks| async move {
        chunks.write(DONE);
        Ok(())
    })
}

fn streamed(response: Response<Body>) -> Response<Chunks> {
    response.map(Chunks::from)
}

#[cfg(test)]
mod tests {
    //! A stream is written for the sake of its message, whoever reads it.

    use http_body::Body as _;
    use std::future::poll_fn;
    use tokio::{sync::oneshot, task::yield_now};

    use super::*;

    async fn next(body: &mut Chunks) -> Option<Bytes> {
        let frame = poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await?;
        frame.unwrap().into_data().ok()
    }

    #[tokio::test]
    async fn a_stream_whose_client_is_gone_is_written_to_its_end() {
        let (end, is_at_its_end) = oneshot::channel();
        let response = event_stream("request".into(), |chunks| async move {
            chunks.write("first");
            yield_now().await;
            chunks.write("last");
            let _ = end.send(());
            Ok(())
        });
        drop(response);
        assert_eq!(is_at_its_end.await, Ok(()));
    }

    #[tokio::test]
    async fn a_chunk_is_read_before_the_next_is_written_and_the_body_ends_with_its_writer() {
        let (go_on, may_go_on) = oneshot::channel();
        let response = event_stream("request".into(), |chunks| async move {
            chunks.write("first");
            let _ = may_go_on.await;
            chunks.write("last");
            Ok(())
        });
        let mut body = response.unwrap().into_body();
        assert_eq!(next(&mut body).await.unwrap(), COMMENT);
        assert_eq!(next(&mut body).await.unwrap(), "first");
        go_on.send(()).unwrap();
        assert_eq!(next(&mut body).await.unwrap(), "last");
        assert_eq!(next(&mut body).await, None);
    }

    #[tokio::test]
    async fn a_writer_that_panics_ends_its_stream_and_says_so() {
        let response = event_stream("request".into(), |chunks| async move {
            chunks.write("first");
            panic!("a test's");
        });
        let mut body = response.unwrap().into_body();
        assert_eq!(next(&mut body).await.unwrap(), COMMENT);
        assert_eq!(next(&mut body).await.unwrap(), "first");
        assert_eq!(next(&mut body).await.unwrap(), ": internal error, request request\n\n");
        assert_eq!(next(&mut body).await, None);
    }

    /// Lambda was seen not to end a response whose body is empty.
    #[tokio::test]
    async fn no_stream_is_empty_even_if_nothing_is_written() {
        let failed = event_stream("request".into(), |_| async { Err(Error::internal("a test's")) });
        for response in [failed.unwrap(), no_events("request".into()).unwrap()] {
            assert_eq!(response.status(), 200);
            assert!(!next(&mut response.into_body()).await.unwrap().is_empty());
        }
    }
}
