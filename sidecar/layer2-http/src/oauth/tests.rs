//! Tests of `oauth`.

use super::*;

use proptest::prelude::*;

fn request(grant: Grant<'_>) -> TokenRequest<'_> {
    TokenRequest {
        client_id: "s6BhdRkqt3",
        client_secret: Some("7Fjfp0ZBr1KtDRbnfVdmIw"),
        secret_in_form: false,
        scope: None,
        audience: None,
        grant,
    }
}

fn good(fields: &str) -> Result<TokenAnswer, TokenError> {
    read_answer(200, format!("{{\"access_token\":\"t\",\"token_type\":\"bearer\"{fields}}}").as_bytes())
}

#[test]
fn an_answer_of_the_rfc_is_a_token() {
    // RFC 6749 §5.1.
    let text = br#"{"access_token":"2YotnFZFEjr1zCsicMWpAA","token_type":"example","expires_in":3600,
        "refresh_token":"tGzv3JOkF0XG5Qx2TlKWIA","example_parameter":"example_value"}"#;
    assert_eq!(read_answer(200, text).unwrap_err(), TokenError::NoToken("its token_type is not Bearer"));
    let text = String::from_utf8(text.to_vec()).unwrap().replace("\"example\"", "\"Bearer\"");
    let answer = read_answer(200, text.as_bytes()).unwrap();
    assert_eq!(answer.access_token.as_str(), "2YotnFZFEjr1zCsicMWpAA");
    assert_eq!(answer.life, Duration::from_secs(3600));
    assert_eq!(answer.refresh_token.as_ref().unwrap().as_str(), "tGzv3JOkF0XG5Qx2TlKWIA");
    assert!(!format!("{answer:?}").contains("2Yotn"));
}

#[test]
fn the_form_and_the_field_are_those_of_the_rfc() {
    // RFC 6749 §4.4.2 and §2.3.1.
    let asked = request(Grant::ClientCredentials);
    assert_eq!(asked.form().as_str(), "grant_type=client_credentials");
    assert_eq!(asked.basic().unwrap().as_str(), "s6BhdRkqt3:7Fjfp0ZBr1KtDRbnfVdmIw");
    let asked = TokenRequest { secret_in_form: true, ..request(Grant::RefreshToken("tGzv3JOkF0XG5Qx2TlKWIA")) };
    assert_eq!(
        asked.form().as_str(),
        "grant_type=refresh_token&refresh_token=tGzv3JOkF0XG5Qx2TlKWIA&client_id=s6BhdRkqt3&client_secret=7Fjfp0ZBr1KtDRbnfVdmIw"
    );
    assert!(asked.basic().is_none());
    let public = TokenRequest { client_secret: None, ..request(Grant::RefreshToken("r")) };
    assert_eq!(public.form().as_str(), "grant_type=refresh_token&refresh_token=r&client_id=s6BhdRkqt3");
    let odd = TokenRequest {
        client_id: "a:b c",
        client_secret: Some("p&=%ä"),
        scope: Some("read write"),
        audience: Some("https://erp"),
        ..request(Grant::ClientCredentials)
    };
    assert_eq!(odd.basic().unwrap().as_str(), "a%3Ab+c:p%26%3D%25%C3%A4");
    assert_eq!(odd.form().as_str(), "grant_type=client_credentials&scope=read+write&audience=https%3A%2F%2Ferp");
}

#[test]
fn garbage_is_no_token() {
    for content in [
        &b""[..],
        b"<html>login</html>",
        b"[]",
        b"\"t\"",
        b"{}",
        b"{\"access_token\":7,\"token_type\":\"Bearer\"}",
        b"{\"access_token\":\"t\"}",
        b"{\"access_token\":\"\",\"token_type\":\"Bearer\"}",
        b"{\"access_token\":\"a b\",\"token_type\":\"Bearer\"}",
        b"{\"access_token\":\"a\\r\\nx: y\",\"token_type\":\"Bearer\"}",
        b"{\"access_token\":\"\xc3\xa4\",\"token_type\":\"Bearer\"}",
        b"{\"access_token\":\"t\",\"token_type\":\"mac\"}",
        b"access_token=t&token_type=bearer",
    ] {
        assert!(matches!(read_answer(200, content), Err(TokenError::NoToken(_))), "{}", content.escape_ascii());
    }
    for life in ["\"soon\"", "-1", "true", "[1]", "\"nan\""] {
        assert!(matches!(good(&format!(",\"expires_in\":{life}")), Err(TokenError::NoToken(_))), "{life}");
    }
}

#[test]
fn the_life_of_a_token_is_bounded() {
    assert_eq!(good("").unwrap().life, LIFE_UNSAID);
    assert_eq!(good(",\"expires_in\":\"60\"").unwrap().life, Duration::from_secs(60));
    assert_eq!(good(",\"expires_in\":1.5").unwrap().life, Duration::from_millis(1500));
    assert_eq!(good(",\"expires_in\":1e300").unwrap().life, LIFE_MAX);
    assert_eq!(good(",\"expires_in\":0").unwrap().life, Duration::ZERO);
}

#[test]
fn a_refusal_is_told_by_its_code_and_nothing_else() {
    let refused = |status, text: &str| read_answer(status, text.as_bytes()).unwrap_err();
    let text = r#"{"error":"invalid_client","error_description":"the secret hunter2 is wrong"}"#;
    let error = refused(401, text);
    assert_eq!(error, TokenError::Refused { status: 401, code: "invalid_client" });
    assert!(!error.to_string().contains("hunter2"));
    assert_eq!(refused(400, r#"{"error":"hunter2"}"#), TokenError::Status { status: 400 });
    assert_eq!(refused(302, ""), TokenError::Status { status: 302 });
    assert_eq!(refused(500, "<html>hunter2</html>"), TokenError::Status { status: 500 });
    assert!(refused(400, r#"{"error":"invalid_grant"}"#).refuses_grant());
    assert!(!error.refuses_grant());
}

#[test]
fn a_token_is_renewed_before_its_end() {
    let hour = Duration::from_secs(3600);
    assert_eq!(renew_after(hour, 0), Duration::from_secs(2880));
    assert_eq!(renew_after(hour, u16::MAX), Duration::from_secs(2520));
    assert_eq!(usable_for(hour), Duration::from_secs(3590));
    assert_eq!(usable_for(Duration::from_secs(2)), Duration::from_millis(1800));
    assert_eq!(usable_for(Duration::ZERO), Duration::ZERO);
}

#[test]
fn pauses_grow_to_a_minute() {
    assert_eq!(pause_after(1, u16::MAX), Duration::from_secs(1));
    assert_eq!(pause_after(1, 0), Duration::from_millis(500));
    assert_eq!(pause_after(4, u16::MAX), Duration::from_secs(8));
    for failures in [7, 40, u32::MAX] {
        assert_eq!(pause_after(failures, u16::MAX), Duration::from_secs(60), "{failures}");
    }
}

proptest! {
    #[test]
    fn reading_never_panics(status: u16, content: Vec<u8>) {
        let _ = read_answer(status, &content);
    }

    #[test]
    fn a_token_is_renewed_while_it_can_be_used(seconds in 0_u64..1_000_000, chance: u16) {
        let life = Duration::from_secs(seconds);
        prop_assert!(renew_after(life, chance) <= usable_for(life));
        prop_assert!(renew_after(life, chance) >= life.mul_f64(0.69));
    }
}
