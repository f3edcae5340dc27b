//! Something that many look at and that is worked out once: good for a moment, then made again.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

/// How long it is good for. A page that is open looks a little less often.
const GOOD_FOR: Duration = Duration::from_secs(2);

/// The last one made. While one is being made, whoever asks waits for it.
#[derive(Debug)]
pub(super) struct Fresh<T> {
    last: Mutex<Option<(Instant, Arc<T>)>>,
}

impl<T> Default for Fresh<T> {
    fn default() -> Self {
        Self {
            last: Mutex::default(),
        }
    }
}

impl<T> Fresh<T> {
    /// The last one, or another if that is too old.
    pub(super) async fn get<E>(
        &self,
        make: impl Future<Output = Result<T, E>>,
    ) -> Result<Arc<T>, E> {
        let mut last = self.last.lock().await;
        if let Some((at, value)) = &*last
            && at.elapsed() < GOOD_FOR
        {
            return Ok(Arc::clone(value));
        }
        let value = Arc::new(make.await?);
        *last = Some((Instant::now(), Arc::clone(&value)));
        Ok(value)
    }

    /// Lets go of the last one: something was changed that it shows.
    pub(super) async fn forget(&self) {
        *self.last.lock().await = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_is_made_once_for_all_who_ask_within_a_moment() {
        let fresh = Fresh::default();
        let made = async |value: u8| fresh.get(async { Ok::<_, ()>(value) }).await.unwrap();

        assert_eq!(*made(1).await, 1);
        assert_eq!(*made(2).await, 1);
        tokio::time::advance(GOOD_FOR).await;
        assert_eq!(*made(3).await, 3);
        fresh.forget().await;
        assert_eq!(*made(4).await, 4);
        assert_eq!(
            fresh.get(async { Err::<u8, _>(()) }).await,
            Ok(made(5).await)
        );
    }
}
