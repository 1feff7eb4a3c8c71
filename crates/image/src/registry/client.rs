//! Ask a registry for manifests and blobs (distribution specification 1.1), and believe nothing that it says.

use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, HeaderMap, HeaderValue, LOCATION, RANGE};
use hyper::{Response, StatusCode, Uri};
use tokio::time::timeout;

use super::error::{Fault, RegistryError};
use super::http::{Connections, Origin, is_near, refusal, shown};
use super::login::{Challenge, Credentials, TOKEN_ANSWER_BYTES_MAX, bearer, token_form, token_url};
use super::part::Part;
use super::{Access, Fetched, OnProgress, Pace};
use crate::JSON_BYTES_MAX;
use crate::digest::Digest;
use crate::reference::Reference;

/// Other addresses that one question is sent on to.
const REDIRECTS_MAX: usize = 5;
/// Times that one question is answered with a challenge.
const LOGINS_MAX: usize = 2;
/// How long a transfer may make no progress.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);
/// The slowest that a transfer may be on average, in bytes a second.
const RATE_MIN: u64 = 8 << 10;
/// What a transfer may take besides.
const TRANSFER_TIME_MIN: Duration = Duration::from_secs(60);
/// Attempts without progress, one after the other.
const ATTEMPTS_MAX: u32 = 4;
/// Attempts in all: an end that sends a byte a time makes progress each time.
const ATTEMPTS_IN_ALL_MAX: u32 = 100;
const BACKOFF_FIRST: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// The longest that a registry may ask to be left alone.
const RETRY_AFTER_S_MAX: u64 = 60;
/// Bytes between two reports of how far a blob is.
const PROGRESS_BYTES: u64 = 1 << 20;

/// Everything that an image can begin with.
const MANIFEST_TYPES: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";

pub(super) struct Client {
    connections: Connections,
    credentials: Option<Credentials>,
    /// Whether another program would know them.
    credentials_elsewhere: bool,
    progress: Option<OnProgress>,
    pace: Option<Pace>,
    /// What lets us in, once it is known.
    authorization: Option<HeaderValue>,
    /// The registry's own address, with which every question begins.
    base: String,
    origin: Origin,
    /// Whether it is on this machine, and asked without TLS.
    near: bool,
    name: String,
}

impl Client {
    pub fn new(reference: &Reference, access: &Access) -> Result<Self, RegistryError> {
        let host = reference.host();
        let near = {
            let end = host.rfind(']').map_or(0, |bracket| bracket + 1);
            let name = host[end..].find(':').map_or(host, |colon| &host[..end + colon]);
            is_near(name)
        };
        let base = format!("{}://{host}", if near { "http" } else { "https" });
        let origin = Origin::of(&parse(&base, &base)?, near)?;
        Ok(Self {
            connections: Connections::new(origin.clone(), access.private, access.roots.clone()),
            credentials: access.logins.of(reference).cloned(),
            credentials_elsewhere: access.logins.is_elsewhere(reference),
            progress: access.progress.clone(),
            pace: access.pace.clone(),
            authorization: None,
            base,
            origin,
            near,
            name: reference.name().to_owned(),
        })
    }

    /// A manifest or an index, whole.
    pub async fn manifest(&mut self, digest: Digest) -> Result<Vec<u8>, RegistryError> {
        let mut retries = Retries::default();
        let bytes = loop {
            match self.try_manifest(digest).await {
                Ok(bytes) => break bytes,
                Err(fault) => retries.wait(fault, false).await?,
            }
        };
        let found = Digest::of(&bytes);
        if found == digest { Ok(bytes) } else { Err(RegistryError::Digest { expected: digest, found }) }
    }

    async fn try_manifest(&mut self, digest: Digest) -> Result<Vec<u8>, Fault> {
        let path = format!("/v2/{}/manifests/{digest}", self.name);
        let (url, response) = self.get(&path, Some(MANIFEST_TYPES), 0, digest).await?;
        self.whole(&url, response, JSON_BYTES_MAX, "a manifest").await
    }

    /// A blob of `size` bytes, into `part`, which may have its first bytes already.
    pub async fn blob(&mut self, digest: Digest, size: u64, part: &mut Part) -> Result<(), RegistryError> {
        let mut retries = Retries::default();
        loop {
            let before = part.bytes();
            match self.try_blob(digest, size, part).await {
                Ok(()) => break,
                Err(fault) => retries.wait(fault, part.bytes() > before).await?,
            }
        }
        let found = part.digest();
        if found == digest { Ok(()) } else { Err(RegistryError::Digest { expected: digest, found }) }
    }

    async fn try_blob(&mut self, digest: Digest, size: u64, part: &mut Part) -> Result<(), Fault> {
        if part.bytes() == size {
            return Ok(());
        }
        let path = format!("/v2/{}/blobs/{digest}", self.name);
        let (url, response) = self.get(&path, None, part.bytes(), digest).await?;
        let from = match response.status() {
            StatusCode::PARTIAL_CONTENT => range_from(&url, &response)?,
            _ => 0,
        };
        if from != part.bytes() {
            // It has sent all, or another part than it was asked for.
            if from != 0 {
                let what = "it is not the part that was asked for".to_owned();
                return Err(RegistryError::Answer { url: shown(&url), what }.into());
            }
            part.restart()?;
        }
        if let Some(length) = length_of(&response)
            && from.checked_add(length) != Some(size)
        {
            return Err(RegistryError::Size { digest, expected: size, found: from.saturating_add(length) }.into());
        }
        let time = TRANSFER_TIME_MIN + Duration::from_secs((size - from) / RATE_MIN);
        let url = shown(&url);
        match timeout(time, self.receive(&url, response, digest, size, part)).await {
            Ok(received) => received,
            Err(_) => {
                let what = format!("{} of {size} bytes in {} s", part.bytes() - from, time.as_secs());
                Err(Fault::passing(RegistryError::Slow { url, what }))
            }
        }
    }

    async fn receive(
        &self,
        url: &str,
        response: Response<Incoming>,
        digest: Digest,
        size: u64,
        part: &mut Part,
    ) -> Result<(), Fault> {
        let mut body = response.into_body();
        let mut report_at = 0;
        while part.bytes() < size {
            let Some(data) = next(url, &mut body).await? else {
                let source = format!("it ended after {} of {size} bytes", part.bytes()).into();
                return Err(Fault::passing(RegistryError::Cut { url: url.to_owned(), source }));
            };
            let found = part.bytes() + data.len() as u64;
            if found > size {
                return Err(RegistryError::Size { digest, expected: size, found }.into());
            }
            part.append(&data)?;
            if let Some(pace) = &self.pace {
                tokio::time::sleep(pace(data.len() as u64)).await;
            }
            if let Some(report) = &self.progress
                && (part.bytes() >= report_at || part.bytes() == size)
            {
                report(Fetched { digest, bytes: part.bytes(), size });
                report_at = part.bytes() + PROGRESS_BYTES;
            }
        }
        // A body that goes on is not the blob; one that has no length may only now say that it is over.
        match next(url, &mut body).await? {
            None => Ok(()),
            Some(data) => {
                Err(RegistryError::Size { digest, expected: size, found: size.saturating_add(data.len() as u64) }
                    .into())
            }
        }
    }

    /// Asks for a path of the registry, logs in if it has to, and goes where it is sent.
    async fn get(
        &mut self,
        path: &str,
        accept: Option<&'static str>,
        from: u64,
        wanted: Digest,
    ) -> Result<(Uri, Response<Incoming>), Fault> {
        let start = format!("{}{path}", self.base);
        let mut url = parse(&start, &start)?;
        let (mut redirects, mut logins) = (0, 0);
        loop {
            let origin = Origin::of(&url, self.near)?;
            let is_registry = origin == self.origin;
            let mut headers = HeaderMap::new();
            if let Some(accept) = accept {
                headers.insert(ACCEPT, HeaderValue::from_static(accept));
            }
            if from > 0 {
                headers.insert(RANGE, HeaderValue::try_from(format!("bytes={from}-")).expect("digits are a value"));
            }
            // Nobody else learns what lets us in.
            if let Some(authorization) = self.authorization.clone().filter(|_| is_registry) {
                headers.insert(AUTHORIZATION, authorization);
            }
            let response = self.connections.get(&url, &origin, headers).await?;
            match response.status() {
                StatusCode::OK | StatusCode::PARTIAL_CONTENT => return Ok((url, response)),
                StatusCode::MOVED_PERMANENTLY
                | StatusCode::FOUND
                | StatusCode::SEE_OTHER
                | StatusCode::TEMPORARY_REDIRECT
                | StatusCode::PERMANENT_REDIRECT => {
                    redirects += 1;
                    url = redirected(&url, &response, redirects)?;
                }
                StatusCode::UNAUTHORIZED if is_registry && logins < LOGINS_MAX => {
                    logins += 1;
                    let challenge = Challenge::of(response.headers());
                    drop(response);
                    self.log_in(challenge).await?;
                }
                StatusCode::UNAUTHORIZED => return Err(self.shut_out("what it asked for was not enough").into()),
                _ => {
                    let wanted = format!("{}/{}@{wanted}", self.host(), self.name);
                    return Err(refusal(&url, &wanted, response).await);
                }
            }
        }
    }

    async fn log_in(&mut self, challenge: Option<Challenge>) -> Result<(), Fault> {
        let basic = self.credentials.as_ref().and_then(Credentials::basic);
        match challenge {
            None => Err(self.shut_out("it does not say how to log in").into()),
            Some(Challenge::Basic) => {
                let basic = basic.ok_or_else(|| self.shut_out("name and password are needed"))?;
                self.authorization = Some(basic);
                Ok(())
            }
            Some(Challenge::Bearer { realm, service, scope }) => {
                let scope = scope.unwrap_or_else(|| format!("repository:{}:pull", self.name));
                self.authorization = Some(self.token(&realm, service.as_deref(), &scope, basic).await?);
                Ok(())
            }
        }
    }

    /// Asks `realm` for a token, in the name of whoever we are.
    async fn token(
        &mut self,
        realm: &str,
        service: Option<&str>,
        scope: &str,
        basic: Option<HeaderValue>,
    ) -> Result<HeaderValue, Fault> {
        let (url, response) = match &self.credentials {
            Some(Credentials::IdentityToken(identity)) => {
                let url = parse(realm, &self.base)?;
                let form = token_form(identity, service, scope);
                (url.clone(), self.connections.post(&url, &Origin::of(&url, self.near)?, form).await?)
            }
            _ => {
                let url = parse(&token_url(realm, service, scope), &self.base)?;
                let headers = basic.map(|basic| (AUTHORIZATION, basic)).into_iter().collect();
                (url.clone(), self.connections.get(&url, &Origin::of(&url, self.near)?, headers).await?)
            }
        };
        match response.status() {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                let what = match self.credentials {
                    None => "no token without a login",
                    Some(_) => "no token with this login",
                };
                return Err(self.shut_out(what).into());
            }
            _ => return Err(refusal(&url, "a token", response).await),
        }
        let answer = self.whole(&url, response, TOKEN_ANSWER_BYTES_MAX, "a token").await?;
        let none = || RegistryError::Answer { url: shown(&url), what: "there is no token in it".to_owned() };
        Ok(bearer(&answer).ok_or_else(none)?)
    }

    fn shut_out(&self, what: &str) -> RegistryError {
        let elsewhere = match (&self.credentials, self.credentials_elsewhere) {
            (None, true) => "; the file of logins leaves this one to another program, which is not asked",
            _ => "",
        };
        RegistryError::Login { host: self.host().to_owned(), what: format!("{what}{elsewhere}") }
    }

    /// The registry, with its port.
    pub fn host(&self) -> &str {
        self.base.split_once("://").map_or(self.base.as_str(), |(_, host)| host)
    }

    /// A short answer, whole.
    async fn whole(&self, url: &Uri, response: Response<Incoming>, limit: u64, what: &str) -> Result<Vec<u8>, Fault> {
        let too_large = || RegistryError::TooLarge { what: what.to_owned(), limit };
        if length_of(&response).is_some_and(|length| length > limit) {
            return Err(too_large().into());
        }
        let (url, mut body, mut bytes) = (shown(url), response.into_body(), Vec::new());
        let receive = async {
            while let Some(data) = next(&url, &mut body).await? {
                bytes.extend_from_slice(&data);
                if bytes.len() as u64 > limit {
                    return Err(Fault::from(too_large()));
                }
            }
            Ok(())
        };
        let time = TRANSFER_TIME_MIN + Duration::from_secs(limit / RATE_MIN);
        match timeout(time, receive).await {
            Ok(received) => received?,
            Err(_) => {
                let what = format!("not whole after {} s", time.as_secs());
                return Err(Fault::passing(RegistryError::Slow { url, what }));
            }
        }
        Ok(bytes)
    }
}

/// The next bytes of a body, `None` at its end; never an empty piece.
async fn next(url: &str, body: &mut Incoming) -> Result<Option<bytes::Bytes>, Fault> {
    loop {
        let frame = match timeout(STALL_TIMEOUT, body.frame()).await {
            Ok(None) => return Ok(None),
            Ok(Some(Ok(frame))) => frame,
            Ok(Some(Err(error))) => {
                return Err(Fault::passing(RegistryError::Cut { url: url.to_owned(), source: Box::new(error) }));
            }
            Err(_) => {
                let what = format!("nothing came for {} s", STALL_TIMEOUT.as_secs());
                return Err(Fault::passing(RegistryError::Slow { url: url.to_owned(), what }));
            }
        };
        if let Ok(data) = frame.into_data()
            && !data.is_empty()
        {
            return Ok(Some(data));
        }
    }
}

/// How often something was tried.
#[derive(Default)]
struct Retries {
    without_progress: u32,
    in_all: u32,
}

impl Retries {
    /// Waits before the next attempt, or gives up.
    async fn wait(&mut self, fault: Fault, progress: bool) -> Result<(), RegistryError> {
        let pause = self.count(fault, progress)?;
        tokio::time::sleep(pause).await;
        Ok(())
    }

    /// How long to wait before the next attempt.
    fn count(&mut self, fault: Fault, progress: bool) -> Result<Duration, RegistryError> {
        self.without_progress = if progress { 1 } else { self.without_progress + 1 };
        self.in_all += 1;
        if !fault.passing || self.without_progress >= ATTEMPTS_MAX || self.in_all >= ATTEMPTS_IN_ALL_MAX {
            return Err(fault.error);
        }
        tracing::debug!(error = %fault.error, "asking the registry again");
        Ok(pause(self.without_progress, fault.after))
    }
}

/// How long after so many attempts in vain the next one is made. `after`: seconds that the registry wants to be left alone.
fn pause(attempts: u32, after: Option<u64>) -> Duration {
    let backoff = BACKOFF_FIRST.saturating_mul(4u32.saturating_pow(attempts.saturating_sub(1))).min(BACKOFF_MAX);
    backoff.max(Duration::from_secs(after.unwrap_or(0).min(RETRY_AFTER_S_MAX)))
}

fn parse(text: &str, asked: &str) -> Result<Uri, RegistryError> {
    text.parse().map_err(|error: hyper::http::uri::InvalidUri| RegistryError::Answer {
        url: asked.to_owned(),
        what: format!("it leads to what is no address: {error}"),
    })
}

/// Where an answer sends us: a whole address, or a path of the same host.
fn redirected(url: &Uri, response: &Response<Incoming>, redirects: usize) -> Result<Uri, RegistryError> {
    let sense = |what: &str| RegistryError::Answer { url: shown(url), what: what.to_owned() };
    if redirects > REDIRECTS_MAX {
        return Err(sense("it sends us on and on"));
    }
    let location = response.headers().get(LOCATION).and_then(|location| location.to_str().ok());
    let location = location.ok_or_else(|| sense("it sends us nowhere"))?;
    if location.starts_with('/') && !location.starts_with("//") {
        let (scheme, host) = (url.scheme_str().unwrap_or_default(), url.authority().map_or("", |host| host.as_str()));
        return parse(&format!("{scheme}://{host}{location}"), &shown(url));
    }
    parse(location, &shown(url))
}

fn length_of(response: &Response<Incoming>) -> Option<u64> {
    response.headers().get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The first byte of a partial answer.
fn range_from(url: &Uri, response: &Response<Incoming>) -> Result<u64, RegistryError> {
    let text = response.headers().get(CONTENT_RANGE).and_then(|range| range.to_str().ok()).unwrap_or_default();
    let from = text.strip_prefix("bytes ").and_then(|range| range.split_once('-')?.0.parse().ok());
    from.ok_or_else(|| RegistryError::Answer { url: shown(url), what: "it does not say which part it is".to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_waits_longer_each_time_and_never_for_ever() {
        let ms = |attempts, after| pause(attempts, after).as_millis();
        assert_eq!([1, 2, 3].map(|attempts| ms(attempts, None)), [100, 400, 1_600]);
        assert_eq!(pause(u32::MAX, None), BACKOFF_MAX);
        assert_eq!(
            [Some(0), Some(7), Some(60), Some(61), Some(u64::MAX)].map(|after| ms(1, after)),
            [100, 7_000, 60_000, 60_000, 60_000]
        );
    }

    #[test]
    fn nobody_is_asked_for_ever() {
        let fault = |passing| {
            let error = RegistryError::Answer { url: String::new(), what: String::new() };
            Fault { error, passing, after: None }
        };
        let attempts = |passing, progress| {
            let mut retries = Retries::default();
            1 + (0..1_000).take_while(|_| retries.count(fault(passing), progress).is_ok()).count() as u32
        };
        assert_eq!(attempts(true, false), ATTEMPTS_MAX);
        // An end that sends a byte a time makes progress each time.
        assert_eq!(attempts(true, true), ATTEMPTS_IN_ALL_MAX);
        assert_eq!(attempts(false, true), 1);
    }
}
