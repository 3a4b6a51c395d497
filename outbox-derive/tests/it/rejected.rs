//! What does not compile, with what the user is told.

/// One project for all cases: `attributes` is in the macro's words, `types` and `crate_path` are in
/// those of rustc, which may change with it; `TRYBUILD=overwrite` takes the new ones over.
#[test]
fn mistakes_are_told_where_they_stand() {
    trybuild::TestCases::new().compile_fail("tests/it/rejected/*.rs");
}
