//! Which macro a comprehension was before the parser expanded it.

use cel::common::ast::{CallExpr, ComprehensionExpr, Expr, IdedExpr, LiteralValue};

use super::node::Macro;

/// The macro, its condition, and what it keeps of each element.
pub(super) type MacroParts<'t> = (Macro, Option<&'t IdedExpr>, Option<&'t IdedExpr>);

/// Which macro a comprehension was: told by what it starts from, as the parser expands them.
pub(super) fn macro_parts(l: &ComprehensionExpr) -> Option<MacroParts<'_>> {
    let Expr::Call(step) = &l.loop_step.expr else { return None };
    match &l.accu_init.expr {
        Expr::Literal(LiteralValue::Boolean(start)) => {
            let kind = if **start { Macro::All } else { Macro::Exists };
            Some((kind, step.args.get(1), None))
        }
        Expr::Literal(LiteralValue::Int(_)) => Some((Macro::ExistsOne, step.args.first(), None)),
        Expr::List(_) => match step.args.as_slice() {
            [condition, sum, _] => {
                let Expr::Call(sum) = &sum.expr else { return None };
                Some((Macro::Collect, Some(condition), Some(kept(sum)?)))
            }
            _ => Some((Macro::Collect, None, Some(kept(step)?))),
        },
        _ => None,
    }
}

/// The `x` of `accumulator + [x]`.
fn kept(sum: &CallExpr) -> Option<&IdedExpr> {
    match &sum.args.get(1)?.expr {
        Expr::List(list) => list.elements.first(),
        _ => None,
    }
}
