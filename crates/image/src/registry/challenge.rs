//! What a registry asks for: the header `WWW-Authenticate` (RFC 9110, 11.6.1; distribution's token specification).

/// One way in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    /// User name and password.
    Basic,
    /// A token, to be had from `realm`.
    Bearer {
        /// The token server's URL.
        realm: String,
        /// What the token is for.
        service: Option<String>,
        /// What it must allow.
        scope: Option<String>,
    },
}

/// The challenges of a header that this client can meet.
pub(super) fn parse(header: &str) -> Vec<Challenge> {
    let mut found: Vec<(String, Vec<(String, String)>)> = Vec::new();
    let mut rest = header;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        if rest.is_empty() {
            break;
        }
        let end = rest.find([' ', '\t', ',', '=']).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        match after.strip_prefix('=') {
            Some(value) => {
                let (value, after) = read_value(value);
                if let Some((_, params)) = found.last_mut() {
                    params.push((word.to_ascii_lowercase(), value));
                }
                rest = after;
            }
            None => {
                found.push((word.to_ascii_lowercase(), Vec::new()));
                rest = after;
            }
        }
    }
    found
        .into_iter()
        .filter_map(|(scheme, params)| challenge(&scheme, params))
        .collect()
}

fn challenge(scheme: &str, params: Vec<(String, String)>) -> Option<Challenge> {
    let get = |name: &str| {
        params
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.clone())
    };
    match scheme {
        "basic" => Some(Challenge::Basic),
        "bearer" => Some(Challenge::Bearer {
            realm: get("realm")?,
            service: get("service"),
            scope: get("scope"),
        }),
        _ => None,
    }
}

/// A token or a quoted string, and what follows it.
fn read_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(chars.next().map(|(_, c)| c)),
            c => value.push(c),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_what_registries_write() {
        let bearer = |scope: Option<&str>| Challenge::Bearer {
            realm: "https://auth.docker.io/token".into(),
            service: Some("registry.docker.io".into()),
            scope: scope.map(str::to_owned),
        };
        let docker = "Bearer realm=\"https://auth.docker.io/token\",service=\"registry.docker.io\",\
                      scope=\"repository:library/alpine:pull,push\"";
        assert_eq!(
            parse(docker),
            [bearer(Some("repository:library/alpine:pull,push"))]
        );
        assert_eq!(parse("Basic realm=\"a \\\"b\\\", c\""), [Challenge::Basic]);
        assert_eq!(
            parse(
                "Negotiate, basic, bearer REALM=\"https://auth.docker.io/token\" , service=registry.docker.io"
            ),
            [Challenge::Basic, bearer(None)]
        );
        assert_eq!(parse("Bearer service=\"x\""), []);
        assert_eq!(parse(""), []);
    }

    proptest! {
        #[test]
        fn any_header_is_read(header in "[ -~]{0,60}") {
            parse(&header);
        }
    }
}
