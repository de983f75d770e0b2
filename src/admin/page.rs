//! The status page: one document, put together when kmend is built.

use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA256, digest};

const DOCUMENT: &str = include_str!("page/index.html");
/// What stands in place of `/*{name}*/`, in this order. `page/parts.json` has the same, for the page's own tests.
const PARTS: [(&str, &[&str]); 4] = [
    ("uplot_style", &[include_str!("page/vendor/uplot/uPlot.min.css")]),
    ("style", &[include_str!("page/page.css"), include_str!("page/wide.css")]),
    ("uplot", &[include_str!("page/vendor/uplot/uPlot.iife.min.js")]),
    (
        "script",
        &[
            include_str!("page/base.js"),
            include_str!("page/source.js"),
            include_str!("page/feed.js"),
            include_str!("page/clients.js"),
            include_str!("page/groups.js"),
            include_str!("page/table.js"),
            include_str!("page/charts.js"),
            include_str!("page/menders.js"),
            include_str!("page/page.js"),
        ],
    ),
];

/// The page, and the policy that it is sent with.
#[derive(Debug)]
pub(super) struct Page {
    pub html: String,
    /// Content-Security-Policy: nothing but these scripts and styles, and no host but this one.
    pub policy: String,
}

pub(super) static PAGE: LazyLock<Page> = LazyLock::new(assemble);

fn assemble() -> Page {
    let put = |html: String, (name, texts): &(&str, &[&str])| {
        html.replace(&format!("/*{{{name}}}*/"), &texts.iter().map(|t| t.trim()).collect::<Vec<_>>().join("\n"))
    };
    let html = PARTS.iter().fold(DOCUMENT.to_owned(), put);
    let (scripts, styles) = (hashes(&html, "script"), hashes(&html, "style"));
    let policy = format!(
        "default-src 'none'; script-src {scripts}; style-src {styles}; connect-src 'self'; img-src data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    Page { html, policy }
}

/// `'sha256-...'` of what stands in each element of this name.
fn hashes(html: &str, element: &str) -> String {
    let (open, close) = (format!("<{element}>"), format!("</{element}>"));
    let contents = html.split(&open).skip(1).filter_map(|rest| rest.split(&close).next());
    let hash = |text: &str| format!("'sha256-{}'", STANDARD.encode(digest(&SHA256, text.as_bytes())));
    contents.map(hash).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn the_document_holds_all_that_it_needs() {
        let page = &*PAGE;
        for (name, _) in PARTS {
            let left = format!("/*{{{name}}}*/");
            assert!(DOCUMENT.contains(&left) && !page.html.contains(&left), "{left}");
        }
        assert_eq!(page.html.matches("<script").count(), page.html.matches("<script>").count());
        let scripts = page.policy.split("style-src").next().unwrap();
        assert_eq!(scripts.matches("'sha256-").count(), page.html.matches("<script>").count());
        // A closing tag within a script would end it.
        assert_eq!(page.html.matches("</script>").count(), page.html.matches("<script>").count());
        for outside in ["src=\"http", "href=\"http", "url(http", "@import"] {
            assert!(!page.html.contains(outside), "{outside}");
        }
    }

    #[test]
    fn the_pages_own_tests_put_together_the_same() {
        let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/src/admin/page");
        let parts: BTreeMap<String, Vec<String>> =
            serde_json::from_str(&std::fs::read_to_string(format!("{dir}/parts.json")).unwrap()).unwrap();
        assert_eq!(parts.len(), PARTS.len());
        for (name, texts) in PARTS {
            let read: Vec<_> =
                parts[name].iter().map(|f| std::fs::read_to_string(format!("{dir}/{f}")).unwrap()).collect();
            assert!(read.iter().eq(texts.iter()), "{name}");
        }
    }

    #[test]
    fn hashes_are_those_that_browsers_make() {
        // Of the empty text, as any SHA-256 has it.
        assert_eq!(hashes("<style></style>", "style"), "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='");
    }
}
