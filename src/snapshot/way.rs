//! Where the requests of a service go: to one upstream, or to one of several deployments.

use std::sync::Arc;

use crate::model::name::Name;
use crate::model::refusal::Denied;
use crate::snapshot::target::Target;

/// Where the requests of a service go.
#[derive(Debug)]
pub enum Way {
    /// All to one upstream.
    One(Route),
    /// Each to the deployment that it names, else to one by weight.
    Split(Split),
}

/// An upstream, `None` while it cannot be used.
pub type Route = Option<Arc<Target>>;

/// Deployments, and what share of the requests each of them gets.
#[derive(Debug)]
pub struct Split {
    deployments: Box<[Deployment]>,
    total: usize,
}

/// One of them.
#[derive(Debug)]
pub struct Deployment {
    /// What callers name it.
    pub name: Name,
    /// Its share, of the sum of all.
    pub weight: u32,
    /// Where it is.
    pub route: Route,
}

impl Way {
    /// Finds where a request goes that names this deployment, or none. `below` draws a number.
    ///
    /// A service that has no deployments does not look at the name: Azure's client library goes on naming one to whatever it
    /// calls next.
    ///
    /// # Errors
    /// [`Denied::NoDeployment`].
    pub fn find<'n>(
        &self,
        mut named: impl Iterator<Item = &'n [u8]>,
        below: impl FnOnce(usize) -> usize,
    ) -> Result<&Route, Denied> {
        let split = match self {
            Self::One(route) => return Ok(route),
            Self::Split(split) => split,
        };
        let found = match (named.next(), named.next()) {
            (None, _) => split.draw(below),
            (Some(name), None) => split.deployments.iter().find(|it| it.name.as_str().as_bytes() == name),
            (Some(_), Some(_)) => None,
        };
        found.map(|deployment| &deployment.route).ok_or(Denied::NoDeployment)
    }

    /// Every upstream that it leads to.
    pub fn targets(&self) -> impl Iterator<Item = &Arc<Target>> {
        let (one, split) = match self {
            Self::One(route) => (Some(route), None),
            Self::Split(split) => (None, Some(split.deployments.iter().map(|deployment| &deployment.route))),
        };
        one.into_iter().chain(split.into_iter().flatten()).flatten()
    }
}

impl Split {
    /// Weights below 2^32 of fewer than 2^31 deployments add up to less than 2^63.
    #[must_use]
    pub fn new(deployments: Box<[Deployment]>) -> Self {
        let total = deployments.iter().map(|deployment| weight(deployment.weight)).sum();
        Self { deployments, total }
    }

    fn draw(&self, below: impl FnOnce(usize) -> usize) -> Option<&Deployment> {
        if self.total == 0 {
            return None;
        }
        let mut left = below(self.total);
        self.deployments.iter().find(|deployment| match left.checked_sub(weight(deployment.weight)) {
            None => true,
            Some(rest) => {
                left = rest;
                false
            }
        })
    }
}

fn weight(weight: u32) -> usize {
    usize::try_from(weight).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::Deployment;
    use super::Split;
    use crate::model::name::Name;

    #[test]
    fn each_number_below_the_sum_is_one_deployments() {
        let deployment = |name: &str, weight| Deployment { name: Name::parse(name).unwrap(), weight, route: None };
        let split = Split::new(Box::new([deployment("a", 2), deployment("b", 0), deployment("c", 3)]));
        let drawn: Vec<&str> = (0..5).map(|at| split.draw(|_| at).unwrap().name.as_str()).collect();
        assert_eq!(drawn, ["a", "a", "c", "c", "c"]);
        let dark = Split::new(Box::new([deployment("a", 0)]));
        assert!(dark.draw(|_| 0).is_none());
    }
}
