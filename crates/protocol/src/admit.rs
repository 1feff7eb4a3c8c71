//! Let connections in, a few at a time.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

/// After an accept that failed (no descriptors are left, say) the next waits so long.
const PAUSE: Duration = Duration::from_millis(100);

/// Hands each connection that `next` accepts to `talk`, at most `max` at a time, each for `time_max` at most: whoever is too slow, or
/// goes away, loses the answer and nothing else. Goes on until it is dropped.
pub(crate) async fn admit<S, N, T>(
    what: &str,
    (max, time_max): (usize, Duration),
    next: impl Fn() -> N,
    talk: impl Fn(S) -> T,
) where
    N: Future<Output = io::Result<S>>,
    T: Future<Output: Send> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(max));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match next().await {
            Ok(stream) => {
                let conversation = tokio::time::timeout(time_max, talk(stream));
                tokio::spawn(async move {
                    let _ = conversation.await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, what, "a connection could not be accepted");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}
