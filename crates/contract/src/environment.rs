//! What the variables of a program may be called.

/// Whether a program can have a variable of that name: any without `=` and NUL byte (environ(7)).
#[must_use]
pub fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(['=', '\0'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_no_equals_sign_and_no_end() {
        assert!(is_name("a.b") && is_name("1") && !is_name("") && !is_name("a=b") && !is_name("a\0"));
    }
}
