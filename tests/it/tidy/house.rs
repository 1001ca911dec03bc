//! The files of `src`, which of them use which, and the map of them in ARCHITECTURE.md.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::{files, read, root};

/// Which file uses which others, by the `use` lines of their code. A re-export is no use.
struct House {
    uses: BTreeMap<String, BTreeSet<String>>,
}

/// A file of `src`, as far as its `use` lines tell.
struct Source {
    /// The module's path from the root of the crate: empty for `lib.rs`.
    module: Vec<String>,
    children: BTreeSet<String>,
    imports: Vec<Import>,
}

/// One name that a `use` line brings in.
#[derive(Clone)]
struct Import {
    path: Vec<String>,
    is_reexport: bool,
}

impl Import {
    /// The name by which the file knows it.
    fn name(&self) -> &str {
        match &self.path[..] {
            [.., module, last] if last == "self" => module,
            [.., last] => last,
            [] => "",
        }
    }
}

impl Source {
    fn of(file: &Path) -> Self {
        let mut module: Vec<String> =
            file.with_extension("").iter().skip(1).map(|part| part.to_str().expect("text").to_owned()).collect();
        if module == ["lib"] {
            module.clear();
        }
        let text = read(file);
        let code = text.split("#[cfg(test)]\nmod ").next().expect("a first part");
        let mut source = Source { module, children: BTreeSet::new(), imports: Vec::new() };
        let mut lines = code.lines();
        while let Some(line) = lines.next() {
            let line = line.trim_start();
            if line.starts_with("//") {
                continue;
            }
            let is_public = line.starts_with("pub");
            let item =
                line.split_once("pub(").and_then(|(_, rest)| rest.split_once(") ")).map_or(line, |(_, rest)| rest);
            let item = item.strip_prefix("pub ").unwrap_or(item);
            if let Some(child) = item.strip_prefix("mod ").and_then(|rest| rest.strip_suffix(';')) {
                source.children.insert(child.to_owned());
            } else if let Some(tree) = item.strip_prefix("use ") {
                let mut tree = tree.to_owned();
                while !tree.ends_with(';') {
                    tree.push_str(lines.next().expect("a use ends with a semicolon").trim());
                }
                let tree: String = tree.trim_end_matches(';').split_whitespace().collect::<Vec<_>>().join(" ");
                expand(&[], &tree, &mut |path| source.imports.push(Import { path, is_reexport: is_public }));
            }
        }
        source
    }
}

/// Calls `found` for each path in a tree such as `a::{b, c::{self, d}}`.
fn expand(prefix: &[String], tree: &str, found: &mut impl FnMut(Vec<String>)) {
    let (head, group) = tree.split_once('{').map_or((tree, None), |(head, group)| (head, Some(group)));
    let mut path = prefix.to_vec();
    path.extend(
        head.split("::")
            .map(str::trim)
            .filter(|part| !part.is_empty())
            .map(|part| part.split_once(" as ").map_or(part, |(name, _)| name).to_owned()),
    );
    let Some(group) = group else { return found(path) };
    let group = group.strip_suffix('}').expect("the group is closed");
    let (mut depth, mut from) = (0, 0);
    for (at, byte) in group.bytes().chain([b',']).enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            b',' if depth == 0 => {
                let part = group[from..at].trim();
                if !part.is_empty() {
                    expand(&path, part, found);
                }
                from = at + 1;
            }
            _ => {}
        }
    }
}

impl House {
    fn read() -> Self {
        let sources: BTreeMap<Vec<String>, (String, Source)> = files("src")
            .iter()
            .map(|file| {
                let source = Source::of(file);
                (source.module.clone(), (file.to_str().expect("text").to_owned(), source))
            })
            .collect();
        let mut uses = BTreeMap::new();
        for (file, source) in sources.values() {
            let used: BTreeSet<String> = source
                .imports
                .iter()
                .filter(|import| !import.is_reexport)
                .filter_map(|import| resolve(&sources, source, &import.path))
                .filter(|used| used != file)
                .collect();
            uses.insert(file.clone(), used);
        }
        assert!(uses.values().map(BTreeSet::len).sum::<usize>() > 100, "the use lines are understood");
        House { uses }
    }

    /// A circle of files that use each other, if there is one.
    fn circle(&self) -> Option<Vec<&str>> {
        let mut done = BTreeSet::new();
        self.uses.keys().find_map(|file| self.circle_from(file, &mut Vec::new(), &mut done))
    }

    fn circle_from<'a>(
        &'a self,
        file: &'a str,
        way: &mut Vec<&'a str>,
        done: &mut BTreeSet<&'a str>,
    ) -> Option<Vec<&'a str>> {
        if let Some(at) = way.iter().position(|on_the_way| *on_the_way == file) {
            return Some(way[at..].to_vec());
        }
        if !done.contains(file) {
            way.push(file);
            for used in &self.uses[file] {
                if let Some(circle) = self.circle_from(used, way, done) {
                    return Some(circle);
                }
            }
            way.pop();
            done.insert(file);
        }
        None
    }
}

/// The file in which a path of a `use` line leads, through the re-exports and imports on its way.
fn resolve(sources: &BTreeMap<Vec<String>, (String, Source)>, source: &Source, path: &[String]) -> Option<String> {
    let mut module = source.module.clone();
    let mut rest = path.iter();
    match path.first()?.as_str() {
        "crate" => module.clear(),
        "self" => {}
        "super" => {
            module.pop();
        }
        child if source.children.contains(child) => module.push(child.to_owned()),
        _ => return None,
    }
    rest.next();
    for part in rest {
        let (file, here) = &sources[&module];
        if part == "super" {
            module.pop();
        } else if part == "self" {
            return Some(file.clone());
        } else if here.children.contains(part)
            && sources.contains_key(&[&module[..], std::slice::from_ref(part)].concat())
        {
            module.push(part.clone());
        } else {
            let import = here.imports.iter().find(|import| import.name() == part);
            let defined = import.and_then(|import| resolve(sources, here, &import.path));
            return Some(defined.unwrap_or_else(|| file.clone()));
        }
    }
    Some(sources[&module].0.clone())
}

/// The paths in the first column of the code map, in its order.
fn map() -> Vec<String> {
    let text = read("ARCHITECTURE.md");
    let map = text.split("## Code map").nth(1).and_then(|rest| rest.split("\n## ").next()).expect("a code map");
    let rows: Vec<String> =
        map.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next().map(str::to_owned)).collect();
    assert!(rows.len() > 20, "the code map is understood");
    rows
}

#[test]
fn no_files_of_src_use_each_other_in_a_circle() {
    let house = House::read();
    assert_eq!(house.circle(), None);
}

#[test]
fn each_file_uses_only_files_that_stand_earlier_in_the_map() {
    let map = map();
    let place = |file: &str| map.iter().position(|row| row == file);
    let mut backward = Vec::new();
    for (file, used) in House::read().uses {
        backward.extend(
            used.into_iter().filter(|used| place(used) >= place(&file)).map(|used| format!("{file} uses {used}")),
        );
    }
    assert_eq!(backward, [""; 0], "these stand later in the map of ARCHITECTURE.md");
}

#[test]
fn the_map_has_a_row_for_each_file_and_a_file_for_each_row() {
    let map = map();
    for row in &map {
        assert!(root().join(row).exists(), "ARCHITECTURE.md maps {row}, which does not exist");
        assert_eq!(map.iter().filter(|other| *other == row).count(), 1, "ARCHITECTURE.md maps {row} twice");
    }
    for file in files("src") {
        let file = file.to_str().expect("text");
        assert!(map.iter().any(|row| row == file), "ARCHITECTURE.md does not map {file}");
    }
}

#[test]
fn lib_lists_the_modules_in_the_order_of_the_map() {
    let lib = Source::of(Path::new("src/lib.rs"));
    let listed: Vec<String> = super::code(&read("src/lib.rs"))
        .filter_map(|line| line.strip_prefix("pub ").unwrap_or(line).strip_prefix("mod ")?.strip_suffix(';'))
        .map(str::to_owned)
        .collect();
    assert_eq!(listed.len(), lib.children.len());
    let mapped: Vec<String> = map()
        .iter()
        .filter_map(|row| row.strip_prefix("src/")?.split(['/', '.']).next())
        .filter(|module| *module != "lib")
        .fold(Vec::new(), |mut order, module| {
            if !order.iter().any(|known| known == module) {
                order.push(module.to_owned());
            }
            order
        });
    assert_eq!(listed, mapped);
}
