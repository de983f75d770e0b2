//! Fetch and ShareFetch responses: walked as they flow, or whole where they fit a window.

use super::core::{Core, Wait};
use super::end::End;
use super::pump::Pump;
use super::response::{Head, ResponseState};
use super::scan::{FetchResponseScan, HideNodes};
use super::window::WINDOW;
use crate::mend::{FetchRequest, Treatment};
use crate::wire::api::ApiKey;
use crate::wire::layout::Layout;
use crate::wire::walk::{self, WalkError, Walker};

impl Core {
    pub(super) fn fetch_response(&mut self, pump: &mut Pump, head: Head, layout: Layout) -> Result<Option<Wait>, End> {
        let looked = self.interests.response(ApiKey::FETCH) != Treatment::Skip;
        let request = self.queue.front().and_then(|e| e.fetch).filter(|_| looked);
        if request.is_none() && head.version < 16 {
            return self.pass(head);
        }
        let whole = head.total <= WINDOW;
        if whole && let Some(wait) = self.gather(pump, head)? {
            return Ok(Some(wait));
        }
        let scan = FetchResponseScan::new(whole);
        if whole {
            return self.fetched_whole(pump, head, layout, request, scan);
        }
        pump.window.approve(head.body);
        self.response = ResponseState::Fetch(Box::new((Walker::new(layout, head.body, head.total), request, scan)));
        Ok(None)
    }

    /// A Fetch response that fits the window: its node endpoints can be rewritten.
    fn fetched_whole(
        &mut self,
        pump: &mut Pump,
        head: Head,
        layout: Layout,
        request: Option<FetchRequest>,
        mut scan: FetchResponseScan,
    ) -> Result<Option<Wait>, End> {
        let frame = pump.window.undecided_mut().get_mut(..head.total).unwrap_or_default();
        walk::whole(layout, frame, head.body, &mut scan.visitor(self, request.as_ref()))
            .map_err(|e| head.unreadable(e))?;
        let new = if scan.endpoints { self.rewrite(head, layout, frame)? } else { None };
        match new {
            None => pump.window.approve(head.total),
            Some(new) => pump.replace(head.total, &new),
        }
        self.fetch_ended(request, scan.error);
        Ok(self.response_done())
    }

    pub(super) fn fetched(&mut self, pump: &mut Pump) -> Result<Option<Wait>, End> {
        let ResponseState::Fetch(mut state) = std::mem::replace(&mut self.response, ResponseState::Head) else {
            return Ok(None);
        };
        let (walker, request, scan) = &mut *state;
        let progress = walker
            .step(pump.window.undecided_mut(), &mut scan.visitor(self, request.as_ref()))
            .map_err(|why| self.broken(why))?;
        pump.window.approve(progress.consumed);
        match progress.need {
            Some(need) => {
                pump.window.reach(need);
                self.response = ResponseState::Fetch(state);
                Ok(Some(Wait::Bytes))
            }
            None => {
                self.fetch_ended(*request, scan.error);
                Ok(self.response_done())
            }
        }
    }

    fn fetch_ended(&mut self, request: Option<FetchRequest>, error: i16) {
        match request.filter(|r| !r.replica) {
            Some(request) => self.call_all(|m, cx| m.fetch_response_end(cx, &request, error)),
            None => self.apply_effects(),
        }
    }

    pub(super) fn share_fetched(&mut self, pump: &mut Pump) -> Result<Option<Wait>, End> {
        let ResponseState::ShareFetch(mut walker) = std::mem::replace(&mut self.response, ResponseState::Head) else {
            return Ok(None);
        };
        let progress = walker.step(pump.window.undecided_mut(), &mut HideNodes).map_err(|why| self.broken(why))?;
        pump.window.approve(progress.consumed);
        match progress.need {
            Some(need) => {
                pump.window.reach(need);
                self.response = ResponseState::ShareFetch(walker);
                Ok(Some(Wait::Bytes))
            }
            None => Ok(self.response_done()),
        }
    }

    /// The streamed frame at the front cannot be read to its end.
    fn broken(&self, why: WalkError) -> End {
        let (api, version) =
            self.queue.front().map_or(("unknown", 0), |e| (e.api.name().unwrap_or("unknown"), e.version));
        End::Unreadable { api, version, why: why.to_string() }
    }
}
