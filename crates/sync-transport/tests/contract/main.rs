//! The contract of the transport, checked over every kind of connection.
//!
//! Nothing here sleeps: timeouts run on a paused clock over memory, and on real sockets things are waited for by asking.

#![allow(
    clippy::unwrap_used,
    reason = "clippy's own exception for tests does not reach the functions they share"
)]

mod bodies;
mod bounds;
mod calls;
mod retries;
mod setup;
mod shutdown;
mod trust;

/// Makes one test of each function for each way of connecting.
macro_rules! over_every_way {
    ($($test:ident),+ $(,)?) => {
        crate::over_every_way!(@ tcp Tcp: $($test),+);
        crate::over_every_way!(@ tls_http1 TlsHttp1: $($test),+);
        crate::over_every_way!(@ tls_http2 TlsHttp2: $($test),+);
        crate::over_every_way!(@ unix Unix: $($test),+);
        crate::over_every_way!(@ memory Memory: $($test),+);
        crate::over_every_way!(@ custom Custom: $($test),+);
    };
    (@ $module:ident $way:ident: $($test:ident),+) => {
        mod $module {
            use crate::setup::Way;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    super::$test(Way::$way).await;
                }
            )+
        }
    };
}
pub(crate) use over_every_way;
