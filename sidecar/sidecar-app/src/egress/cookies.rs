//! Cookies that stay on the far side: a jar for each caller of a rule that asks for it (RFC 6265).
//!
//! Invariants: a cookie that the called server set is sent again only with calls of the caller that got it, by the rule that
//! got it; it never crosses. Jars are in memory only, and bounded: in their number (the one that was used longest ago goes),
//! and each in its cookies (later ones are not kept). Who the caller is, is the calling side's word. Test to read first:
//! `a_cookie_goes_back_with_calls_of_its_own_caller_only`.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use cookie_store::{Cookie, CookieStore};
use http::header::{COOKIE, SET_COOKIE};
use http::{HeaderMap, HeaderValue, Uri};
use layer2_http::envelope::Caller;
use url::Url;
use wire::EndpointId;

/// Callers whose cookies are kept, for one rule.
const JARS_MAX: usize = 1024;
/// Cookies of one caller.
const COOKIES_MAX: usize = 64;
/// Octets of one Set-Cookie that is kept (RFC 6265 §6.1).
const COOKIE_BYTES_MAX: usize = 4096;
/// Octets of the Cookie field that is sent.
const FIELD_BYTES_MAX: usize = 16 * 1024;

/// Whose a jar is: the endpoint that called, and whom it names as the caller.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Owner(EndpointId, [Option<String>; 3]);

impl Owner {
    /// The caller of a call that came from `peer`.
    pub(super) fn new(peer: EndpointId, caller: Option<&Caller>) -> Self {
        let caller = caller.cloned().unwrap_or_default();
        Self(peer, [caller.namespace, caller.service_account, caller.name])
    }
}

/// The jars of one rule.
#[derive(Default)]
pub(super) struct Jars(Mutex<State>);

#[derive(Default)]
struct State {
    jars: BTreeMap<Owner, Jar>,
    uses: u64,
}

#[derive(Default)]
struct Jar {
    cookies: CookieStore,
    used: u64,
}

impl Jars {
    /// Puts the caller's cookies for this call into its fields, in the place of any it sent.
    pub(super) fn add_to(&self, fields: &mut HeaderMap, owner: &Owner, uri: &Uri) {
        fields.remove(COOKIE);
        let Some(url) = url(uri) else { return };
        let mut state = self.lock();
        let Some(jar) = state.jar(owner) else { return };
        let mut line = String::new();
        for (name, value) in jar.cookies.get_request_values(&url) {
            if line.len() + name.len() + value.len() + 3 > FIELD_BYTES_MAX {
                break;
            }
            if !line.is_empty() {
                line.push_str("; ");
            }
            line.push_str(name);
            line.push('=');
            line.push_str(value);
        }
        if let Ok(mut value) = HeaderValue::from_str(&line)
            && !line.is_empty()
        {
            value.set_sensitive(true);
            fields.insert(COOKIE, value);
        }
    }

    /// Takes the cookies out of a response, for the caller's next calls.
    pub(super) fn take_from(&self, fields: &mut HeaderMap, owner: &Owner, uri: &Uri) {
        let set: Vec<HeaderValue> = fields.get_all(SET_COOKIE).iter().cloned().collect();
        fields.remove(SET_COOKIE);
        fields.remove("set-cookie2");
        let Some(url) = url(uri).filter(|_| !set.is_empty()) else { return };
        let mut state = self.lock();
        let jar = state.jar_to_fill(owner);
        for line in set.iter().filter(|line| line.len() <= COOKIE_BYTES_MAX).filter_map(|line| line.to_str().ok()) {
            jar.keep(line, &url);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Jar {
    /// Keeps a cookie; a full jar takes only those that it has, which may mean their end.
    fn keep(&mut self, line: &str, url: &Url) {
        let Ok(cookie) = Cookie::parse(line.to_owned(), url) else { return };
        let place =
            |cookie: &Cookie<'_>| (String::from(&cookie.domain), String::from(&cookie.path), cookie.name().to_owned());
        if self.cookies.iter_any().count() >= COOKIES_MAX {
            let over: Vec<_> = self.cookies.iter_any().filter(|cookie| cookie.is_expired()).map(place).collect();
            for (domain, path, name) in over {
                self.cookies.remove(&domain, &path, &name);
            }
            let (domain, path, name) = place(&cookie);
            let known = self.cookies.contains_any(&domain, &path, &name);
            if !known && self.cookies.iter_any().count() >= COOKIES_MAX {
                return;
            }
        }
        let _ = self.cookies.insert(cookie.into_owned(), url);
    }
}

impl State {
    fn jar(&mut self, owner: &Owner) -> Option<&mut Jar> {
        self.uses += 1;
        let uses = self.uses;
        let jar = self.jars.get_mut(owner)?;
        jar.used = uses;
        Some(jar)
    }

    fn jar_to_fill(&mut self, owner: &Owner) -> &mut Jar {
        self.uses += 1;
        if !self.jars.contains_key(owner) && self.jars.len() >= JARS_MAX {
            let oldest = self.jars.iter().min_by_key(|(_, jar)| jar.used).map(|(owner, _)| owner.clone());
            if let Some(oldest) = oldest {
                self.jars.remove(&oldest);
            }
        }
        let jar = self.jars.entry(owner.clone()).or_default();
        jar.used = self.uses;
        jar
    }
}

fn url(uri: &Uri) -> Option<Url> {
    Url::parse(&uri.to_string()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(peer: u8, account: Option<&str>) -> Owner {
        let caller = Caller { service_account: account.map(str::to_owned), ..Caller::default() };
        Owner::new(EndpointId::from_bytes([peer; 16]), Some(&caller))
    }

    fn set(jars: &Jars, owner: &Owner, uri: &str, lines: &[&str]) -> HeaderMap {
        let mut fields = HeaderMap::new();
        for line in lines {
            fields.append(SET_COOKIE, line.parse().unwrap());
        }
        jars.take_from(&mut fields, owner, &uri.parse().unwrap());
        fields
    }

    fn sent(jars: &Jars, owner: &Owner, uri: &str) -> Option<String> {
        let mut fields = HeaderMap::new();
        fields.insert(COOKIE, "own=1".parse().unwrap());
        jars.add_to(&mut fields, owner, &uri.parse().unwrap());
        assert!(fields.get_all(COOKIE).iter().count() <= 1);
        fields.get(COOKIE).map(|value| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn a_cookie_goes_back_with_calls_of_its_own_caller_only() {
        let jars = Jars::default();
        let [billing, stock, elsewhere] =
            [owner(1, Some("billing")), owner(1, Some("stock")), owner(2, Some("billing"))];
        let left = set(&jars, &billing, "http://erp.test/v1/login", &["session=abc; Path=/; HttpOnly", "a=1; Path=/"]);
        assert!(left.is_empty(), "{left:?}");
        let mut cookies: Vec<_> =
            sent(&jars, &billing, "http://erp.test/v1/x").unwrap().split("; ").map(str::to_owned).collect();
        cookies.sort();
        assert_eq!(cookies, ["a=1", "session=abc"]);
        for other in [stock, elsewhere, owner(1, None)] {
            assert_eq!(sent(&jars, &other, "http://erp.test/v1/x"), None, "{other:?}");
        }
        // Set anew, and over.
        set(&jars, &billing, "http://erp.test/", &["session=def; Path=/", "a=1; Path=/; Max-Age=0"]);
        assert_eq!(sent(&jars, &billing, "http://erp.test/v1/x").as_deref(), Some("session=def"));
    }

    #[test]
    fn host_path_and_scheme_are_those_of_rfc_6265() {
        let jars = Jars::default();
        let me = owner(1, Some("me"));
        set(
            &jars,
            &me,
            "https://erp.test/v1/a/login",
            &["here=1", "safe=1; Secure; Path=/", "other=1; Domain=evil.test"],
        );
        assert_eq!(sent(&jars, &me, "http://erp.test/v1/a/x").as_deref(), Some("here=1"));
        assert_eq!(sent(&jars, &me, "https://erp.test/x").as_deref(), Some("safe=1"));
        for uri in ["http://erp.test/v1/", "http://crm.test/v1/a/x", "http://evil.test/v1/a/x"] {
            assert_eq!(sent(&jars, &me, uri), None, "{uri}");
        }
    }

    #[test]
    fn jars_are_bounded() {
        let jars = Jars::default();
        let me = owner(1, Some("me"));
        let many: Vec<String> = (0..COOKIES_MAX + 20).map(|number| format!("c{number}=1; Path=/")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        set(&jars, &me, "http://erp.test/", &many);
        let count = |line: Option<String>| line.map_or(0, |line| line.split("; ").count());
        assert_eq!(count(sent(&jars, &me, "http://erp.test/")), COOKIES_MAX);
        // A full jar still takes what it has.
        set(&jars, &me, "http://erp.test/", &["c0=2; Path=/"]);
        assert!(sent(&jars, &me, "http://erp.test/").unwrap().contains("c0=2"));
        let long = format!("long={}", "x".repeat(COOKIE_BYTES_MAX));
        set(&jars, &owner(9, None), "http://erp.test/", &[&long]);
        assert_eq!(sent(&jars, &owner(9, None), "http://erp.test/"), None);
        for number in 0..JARS_MAX {
            sent(&jars, &me, "http://erp.test/");
            set(&jars, &owner(2, Some(&number.to_string())), "http://erp.test/", &["a=1"]);
        }
        assert_eq!(jars.lock().jars.len(), JARS_MAX);
        assert_eq!(count(sent(&jars, &me, "http://erp.test/")), COOKIES_MAX, "the one in use stays");
        assert_eq!(sent(&jars, &owner(2, Some("0")), "http://erp.test/"), None, "the oldest went");
    }
}
