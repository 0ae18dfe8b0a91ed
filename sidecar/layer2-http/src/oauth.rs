//! Access tokens for the far side's calls (RFC 6749 §4.4 and §6): what is asked, what an answer says, and when to ask again.
//!
//! Pure: times are durations, randomness is an argument. Invariants: a token is one that an Authorization field can hold,
//! and an answer that is not exactly a token answer is none; nothing that a server wrote in prose is repeated, because it
//! may repeat a secret; what holds a secret is wiped when it is dropped and does not show itself. Test to read first:
//! `an_answer_of_the_rfc_is_a_token`.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use url::form_urlencoded;
use zeroize::Zeroizing;

/// Largest answer that is read, in octets.
pub const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Life of a token whose answer names none.
const LIFE_UNSAID: Duration = Duration::from_secs(300);
/// The longest life that is believed.
const LIFE_MAX: Duration = Duration::from_secs(24 * 3600);
/// First and longest pause after failures.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// What a token is asked for with.
#[derive(Clone, Copy)]
pub enum Grant<'a> {
    /// The client's own credentials (§4.4).
    ClientCredentials,
    /// A refresh token (§6).
    RefreshToken(&'a str),
}

/// A question to a token endpoint.
#[derive(Clone, Copy)]
pub struct TokenRequest<'a> {
    /// The client's id.
    pub client_id: &'a str,
    /// The client's secret.
    pub client_secret: Option<&'a str>,
    /// Does the secret go into the form, not into the Authorization field?
    pub secret_in_form: bool,
    /// Scopes, separated by spaces.
    pub scope: Option<&'a str>,
    /// For whom the token is.
    pub audience: Option<&'a str>,
    /// With what.
    pub grant: Grant<'a>,
}

impl TokenRequest<'_> {
    /// The content of the request, `application/x-www-form-urlencoded`.
    #[must_use]
    pub fn form(&self) -> Zeroizing<String> {
        // Room for everything in triplets, so that growing leaves no copy of a secret behind.
        let parts = [Some(self.client_id), self.client_secret, self.scope, self.audience];
        let length: usize = parts.into_iter().flatten().map(str::len).sum();
        let refresh = match self.grant {
            Grant::RefreshToken(token) => token.len(),
            Grant::ClientCredentials => 0,
        };
        let mut form = Zeroizing::new(String::with_capacity(256 + 3 * (length + refresh)));
        let mut put = |name: &str, value: &str| {
            if !form.is_empty() {
                form.push('&');
            }
            form.push_str(name);
            form.push('=');
            form.extend(form_urlencoded::byte_serialize(value.as_bytes()));
        };
        match self.grant {
            Grant::ClientCredentials => put("grant_type", "client_credentials"),
            Grant::RefreshToken(token) => {
                put("grant_type", "refresh_token");
                put("refresh_token", token);
            }
        }
        for (name, value) in [("scope", self.scope), ("audience", self.audience)] {
            if let Some(value) = value {
                put(name, value);
            }
        }
        // A public client, too, says who it is (§3.2.1).
        if self.secret_in_form || self.client_secret.is_none() {
            put("client_id", self.client_id);
        }
        if let Some(secret) = self.client_secret.filter(|_| self.secret_in_form) {
            put("client_secret", secret);
        }
        form
    }

    /// What goes, in Base64, behind `Basic ` (§2.3.1: both halves form-encoded); none if the secret is in the form.
    #[must_use]
    pub fn basic(&self) -> Option<Zeroizing<String>> {
        let secret = self.client_secret.filter(|_| !self.secret_in_form)?;
        let mut pair = Zeroizing::new(String::with_capacity(1 + 3 * (self.client_id.len() + secret.len())));
        pair.extend(form_urlencoded::byte_serialize(self.client_id.as_bytes()));
        pair.push(':');
        pair.extend(form_urlencoded::byte_serialize(secret.as_bytes()));
        Some(pair)
    }
}

/// What a token endpoint gave.
pub struct TokenAnswer {
    /// The access token.
    pub access_token: Zeroizing<String>,
    /// How long it lives.
    pub life: Duration,
    /// The refresh token to use from now on, if it gave one.
    pub refresh_token: Option<Zeroizing<String>>,
}

impl fmt::Debug for TokenAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenAnswer").field("life", &self.life).finish_non_exhaustive()
    }
}

/// Why an answer gave no token. Nothing of its content is in here but a registered error code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It refused, with a code of RFC 6749 §5.2.
    #[error("it refused with status {status}: {code}")]
    Refused {
        /// Status of the answer.
        status: u16,
        /// The code.
        code: &'static str,
    },
    /// Another status than 200.
    #[error("it answered with status {status}")]
    Status {
        /// Status of the answer.
        status: u16,
    },
    /// Not the JSON of a token answer.
    #[error("its answer is not a token answer: {0}")]
    NoToken(&'static str),
}

impl TokenError {
    /// Is it the refresh token that was refused?
    #[must_use]
    pub fn refuses_grant(&self) -> bool {
        matches!(self, Self::Refused { code: "invalid_grant", .. })
    }
}

/// The codes of RFC 6749 §5.2. Others are not repeated: whoever made them up may have put anything into them.
const CODES: [&str; 6] = [
    "invalid_request",
    "invalid_client",
    "invalid_grant",
    "unauthorized_client",
    "unsupported_grant_type",
    "invalid_scope",
];

#[derive(Deserialize)]
struct Answer {
    access_token: Option<String>,
    token_type: Option<String>,
    expires_in: Option<serde_json::Value>,
    refresh_token: Option<String>,
}

#[derive(Deserialize)]
struct Refusal {
    error: String,
}

/// Reads the answer of a token endpoint.
///
/// # Errors
/// When it gives no token of type Bearer.
pub fn read_answer(status: u16, content: &[u8]) -> Result<TokenAnswer, TokenError> {
    if status != 200 {
        let said = serde_json::from_slice::<Refusal>(content).ok();
        let code = said.and_then(|said| CODES.into_iter().find(|code| *code == said.error));
        return Err(code.map_or(TokenError::Status { status }, |code| TokenError::Refused { status, code }));
    }
    let answer: Answer = serde_json::from_slice(content).map_err(|_| TokenError::NoToken("it is not a JSON object"))?;
    let refresh_token = answer.refresh_token.map(Zeroizing::new).filter(|token| !token.is_empty());
    let token = answer.access_token.map(Zeroizing::new).ok_or(TokenError::NoToken("it has no access_token"))?;
    // What Authorization can hold (RFC 6750 §2.1), taken a little wider as servers do: printable, no space.
    if token.is_empty() || !token.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(TokenError::NoToken("its access_token cannot stand in an Authorization field"));
    }
    if !answer.token_type.is_some_and(|kind| kind.eq_ignore_ascii_case("bearer")) {
        return Err(TokenError::NoToken("its token_type is not Bearer"));
    }
    let life = answer.expires_in.map_or(Some(LIFE_UNSAID), |value| seconds(&value));
    let life = life.ok_or(TokenError::NoToken("its expires_in is no number of seconds"))?;
    Ok(TokenAnswer { access_token: token, life: life.min(LIFE_MAX), refresh_token })
}

/// A number of seconds, which some servers write as text.
fn seconds(value: &serde_json::Value) -> Option<Duration> {
    let number = match value {
        serde_json::Value::Number(number) => number.as_f64(),
        serde_json::Value::String(text) => text.parse().ok(),
        _ => None,
    };
    let number = number.filter(|number| number.is_finite() && *number >= 0.0)?;
    Some(Duration::from_secs_f64(number.min(LIFE_MAX.as_secs_f64())))
}

/// When to renew a token of this life: at 80 % of it, less up to a tenth, so that engines that started together do not ask
/// together. `chance` is random.
#[must_use]
pub fn renew_after(life: Duration, chance: u16) -> Duration {
    let early = f64::from(chance) / f64::from(u16::MAX) / 10.0;
    life.mul_f64(0.8 - early)
}

/// Up to when a token may still be sent: a little short of its life, for the way of the call.
#[must_use]
pub fn usable_for(life: Duration) -> Duration {
    life - (life / 10).min(Duration::from_secs(10))
}

/// The pause after this many failures in a row, which doubles; at most as much again is left to chance.
#[must_use]
pub fn pause_after(failures: u32, chance: u16) -> Duration {
    let doubled = PAUSE.0.saturating_mul(1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX));
    let base = doubled.min(PAUSE.1);
    base / 2 + (base / 2).mul_f64(f64::from(chance) / f64::from(u16::MAX))
}

#[cfg(test)]
mod tests;
