//! Which calls of a service need features, and whether a grant covers them.

mod query;

use http::Method;

use super::methods::Methods;
use crate::config::FeatureRule;
use crate::config::Needs;
use crate::config::QueryParameter;
use crate::model::feature::FeatureSet;
use crate::model::path::NormalPath;
use crate::model::path::PathTemplate;

/// The feature rules of one service.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FeatureRules(Box<[Rule]>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    methods: Methods,
    path: PathTemplate,
    free_when: Option<QueryParameter>,
    needs: Needs,
}

/// What a call needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Needed {
    /// Nothing: no rule fits the call, or each that does sets it free.
    Nothing,
    /// What the rules that fit need, all of them.
    Features {
        /// Every one of these.
        all_of: FeatureSet,
        /// One of each of these. Most calls need one such set at most.
        any_of: Vec<FeatureSet>,
    },
}

impl FeatureRules {
    /// Takes a service's rules.
    #[must_use]
    pub fn compile(rules: &[FeatureRule]) -> Self {
        let rule = |rule: &FeatureRule| Rule {
            methods: Methods::of(&rule.methods),
            path: rule.path.clone(),
            free_when: rule.free_when.clone(),
            needs: rule.needs,
        };
        Self(rules.iter().map(rule).collect())
    }

    /// Says what a call needs: what every rule that fits it asks for. `query` is the request's, as it was sent.
    ///
    /// A rule fits where a lenient server could take the path for the rule's, and a call is free only where
    /// the query says so in a way that nobody could read otherwise.
    #[must_use]
    pub fn needs(&self, method: &Method, path: &NormalPath<'_>, query: Option<&str>) -> Needed {
        self.0
            .iter()
            .filter(|rule| rule.gates(method, path, query))
            .fold(Needed::Nothing, |needed, rule| needed.and(rule.needs))
    }
}

impl Rule {
    fn gates(&self, method: &Method, path: &NormalPath<'_>, query: Option<&str>) -> bool {
        let fits = self.path.matches_loosely(path.as_str()) || self.path.matches_loosely(path.loosest());
        let free = || self.free_when.as_ref().is_some_and(|free| query::says_plainly(query.unwrap_or_default(), free));
        self.methods.take(method) && fits && !free()
    }
}

impl Needed {
    fn and(self, needs: Needs) -> Self {
        let (mut all_of, mut any_of) = match self {
            Self::Nothing => (FeatureSet::EMPTY, Vec::new()),
            Self::Features { all_of, any_of } => (all_of, any_of),
        };
        match needs {
            Needs::AllOf(features) => all_of = all_of.union(features),
            Needs::AnyOf(features) => any_of.push(features),
        }
        Self::Features { all_of, any_of }
    }

    /// What a grant lacks: `None` where it is enough, else the features of which more are needed. Of a set
    /// that wants any one, all are named.
    #[must_use]
    pub fn unmet(&self, grant: FeatureSet) -> Option<FeatureSet> {
        match self {
            Self::Nothing => None,
            Self::Features { all_of, any_of } => {
                let unmet_sets = any_of.iter().copied().filter(|set| set.intersection(grant).is_empty());
                let missing = all_of.without(grant);
                let enough = missing.is_empty() && unmet_sets.clone().next().is_none();
                (!enough).then(|| unmet_sets.fold(missing, FeatureSet::union))
            }
        }
    }

    /// Every feature that the rules name for this call, held or not.
    #[must_use]
    pub fn named(&self) -> FeatureSet {
        match self {
            Self::Nothing => FeatureSet::EMPTY,
            Self::Features { all_of, any_of } => any_of.iter().copied().fold(*all_of, FeatureSet::union),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::{FeatureRules, Needed};
    use crate::config::{FeatureRule, Needs, QueryParameter};
    use crate::model::feature::{FeatureNames, FeatureSet};
    use crate::model::path::{NormalPath, PathTemplate};

    fn set(names: &[&str]) -> FeatureSet {
        let known = FeatureNames::new(&FeatureNames::FACE).unwrap();
        names.iter().map(|name| known.find(name).unwrap()).fold(FeatureSet::EMPTY, FeatureSet::union)
    }

    fn identification() -> FeatureSet {
        set(&["Face.Identification"])
    }

    fn verification() -> FeatureSet {
        set(&["Face.Verification"])
    }

    fn either() -> FeatureSet {
        identification().union(verification())
    }

    fn rule(methods: &[Method], path: &str, free_when: Option<(&str, &str)>, needs: Needs) -> FeatureRule {
        FeatureRule {
            methods: methods.to_vec(),
            path: PathTemplate::parse(path).unwrap(),
            free_when: free_when.map(|(name, value)| QueryParameter { name: name.to_owned(), value: value.to_owned() }),
            needs,
        }
    }

    /// What the Face documents gate.
    fn face() -> FeatureRules {
        let post = [Method::POST];
        FeatureRules::compile(&[
            rule(&post, "/face/{v}/identify", None, Needs::AllOf(identification())),
            rule(&post, "/face/{v}/verify", None, Needs::AllOf(verification())),
            rule(&post, "/face/{v}/detect", Some(("returnFaceId", "false")), Needs::AnyOf(either())),
            rule(&post, "/face/{v}/findsimilars", None, Needs::AnyOf(either())),
            rule(&post, "/face/{v}/group", None, Needs::AnyOf(either())),
        ])
    }

    fn needed(rules: &FeatureRules, method: &Method, target: &str) -> Needed {
        let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        rules.needs(method, &NormalPath::read(path).unwrap(), query)
    }

    /// Columns: request, and the features of which the call needs one or all; `EMPTY` where it is free.
    #[test]
    fn face_calls_are_gated_unless_they_plainly_are_free() {
        let face = face();
        for (method, target, want) in [
            (Method::POST, "/face/v1.0/identify", identification()),
            (Method::POST, "/face/v1.2/identify?x=1", identification()),
            (Method::POST, "/face/v1.2-preview.1/verify", verification()),
            (Method::POST, "/face/v1.0/findsimilars", either()),
            (Method::POST, "/face/v1.0/group", either()),
            (Method::POST, "/face/v1.0/Identify", identification()),
            (Method::POST, "/FACE/v1.0/identify/", identification()),
            (Method::POST, "/face/v1.0/%69dentify", identification()),
            (Method::POST, "//face//v1.0/identify", identification()),
            (Method::POST, "/face/v1.0/identify;x=1", identification()),
            (Method::POST, "/face%2Fv1.0%2Fidentify", identification()),
            (Method::POST, "/face/v1%2F0/identify", identification()),
            (Method::POST, "/face/v1.0/%2569dentify", identification()),
            (Method::GET, "/face/v1.0/identify", FeatureSet::EMPTY),
            (Method::POST, "/face/v1.0/identify/x", FeatureSet::EMPTY),
            (Method::POST, "/face/v1.0/persongroups/g/train", FeatureSet::EMPTY),
            (Method::PUT, "/face/v1.0/largepersongroups/g", FeatureSet::EMPTY),
            (Method::POST, "/face/v1.0/detect", either()),
            (Method::POST, "/face/v1.0/detect?", either()),
            (Method::POST, "/face/v1.0/detect?returnFaceId=true", either()),
            (Method::POST, "/face/v1.0/detect?returnFaceId=false", FeatureSet::EMPTY),
            (Method::POST, "/face/v1.0/detect/?returnFaceId=false&detectionModel=detection_03", FeatureSet::EMPTY),
            (Method::POST, "/face/v1.0/detect?detectionModel=detection_03&returnFaceId=FALSE", FeatureSet::EMPTY),
            (Method::POST, "/face/v1.0/detect?returnfaceid=False", FeatureSet::EMPTY),
            (Method::POST, "/face/v1.0/detect?returnFaceId=false&returnFaceId=true", either()),
            (Method::POST, "/face/v1.0/detect?returnFaceId=true&returnFaceId=false", either()),
            (Method::POST, "/face/v1.0/detect?returnFaceId=false&returnFaceId=false", either()),
            (Method::POST, "/face/v1.0/detect?RETURNFACEID=true&returnFaceId=false", either()),
        ] {
            assert_eq!(needed(&face, &method, target).named(), want, "{method} {target}");
        }
    }

    #[test]
    fn every_rule_that_fits_must_be_satisfied() {
        let risky = set(&["LimitedAccess.HighRisk"]);
        let rules = FeatureRules::compile(&[
            rule(&[], "/a", None, Needs::AllOf(risky)),
            rule(&[Method::GET], "/{any}", None, Needs::AnyOf(either())),
            rule(&[Method::HEAD], "/h", None, Needs::AllOf(risky)),
        ]);
        let all = either().union(risky);
        for (method, target, grant, lacks) in [
            (Method::POST, "/a", FeatureSet::EMPTY, Some(risky)),
            (Method::POST, "/a", risky, None),
            (Method::GET, "/a", FeatureSet::EMPTY, Some(all)),
            (Method::GET, "/a", risky, Some(either())),
            (Method::GET, "/a", verification(), Some(risky)),
            (Method::GET, "/a", risky.union(verification()), None),
            (Method::GET, "/a", all, None),
            (Method::HEAD, "/b", FeatureSet::EMPTY, Some(either())),
            (Method::GET, "/h", identification(), None),
            (Method::HEAD, "/h", identification(), Some(risky)),
            (Method::POST, "/b", FeatureSet::EMPTY, None),
        ] {
            assert_eq!(needed(&rules, &method, target).unmet(grant), lacks, "{method} {target} with {grant:?}");
        }
        assert_eq!(needed(&rules, &Method::POST, "/b"), Needed::Nothing);
    }
}
