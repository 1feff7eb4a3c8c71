//! A connection that ends when its peer stops: writes that make no progress, and long silence.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};

/// A TCP stream with two clocks. Reads that stall within a request are watched where requests are known, in the handlers.
pub(super) struct StallIo {
    stream: TcpStream,
    stall: Duration,
    idle: Duration,
    /// Runs while a write waits for the peer.
    write_clock: Option<Pin<Box<Sleep>>>,
    /// Starts anew with every byte in either direction.
    idle_clock: Pin<Box<Sleep>>,
}

impl StallIo {
    pub(super) fn new(stream: TcpStream, stall: Duration, idle: Duration) -> StallIo {
        StallIo { stream, stall, idle, write_clock: None, idle_clock: Box::pin(sleep(idle)) }
    }

    fn progressed(&mut self) {
        let deadline = Instant::now() + self.idle;
        self.idle_clock.as_mut().reset(deadline);
    }

    /// Passes the outcome of a write on, or an error when it has waited too long.
    fn watch_write(&mut self, context: &mut Context<'_>, outcome: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if outcome.is_ready() {
            self.write_clock = None;
            self.progressed();
            return outcome;
        }
        let stall = self.stall;
        let clock = self.write_clock.get_or_insert_with(|| Box::pin(sleep(stall)));
        ready!(clock.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for StallIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_read(context, buffer);
        if outcome.is_ready() {
            self.progressed();
            return outcome;
        }
        ready!(self.idle_clock.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncWrite for StallIo {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watch_write(context, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.watch_write(context, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
