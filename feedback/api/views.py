"""`/api/feedback/`: giving, reading, changing and judging."""

from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from agents import queries as agent_queries
from atom.ground import queries as ground_queries
from atom.ground.api.authentication import who
from atom.ground.api.once import APIView, ListAPIView
from atom.ground.api.paging import Pages
from atom.ground.api.schema import whole_list
from atom.ground.models import Scope
from feedback import queries
from feedback.api.serializers import (
    Adjudication,
    Assignment,
    Batch,
    BatchOut,
    FeedbackFilter,
    FeedbackOut,
    LinkOut,
    MadeLinkOut,
    NewFeedback,
    NewLink,
    NewReviewer,
    OneFeedbackOut,
    QueueFilter,
    ReviewerOut,
    RevisionOut,
    Words,
)
from feedback.models import Feedback, FeedbackLink, FeedbackRevision, Reviewer
from feedback.page import address_of
from feedback.services import giving, judging, links


def checked(data: serializers.Serializer[Any]) -> dict[str, Any]:
    data.is_valid(raise_exception=True)
    found: dict[str, Any] = data.validated_data
    return found


@extend_schema_view(get=extend_schema(parameters=[FeedbackFilter]))
class FeedbackList(ListAPIView[Feedback]):
    scope = Scope.FEEDBACK
    serializer_class = FeedbackOut

    def get_queryset(self) -> QuerySet[Feedback]:
        wanted = checked(FeedbackFilter(data=self.request.query_params))
        return queries.feedback_of(who(self.request), queries.Filter(**wanted))

    @extend_schema(request=NewFeedback, responses={201: OneFeedbackOut})
    def post(self, request: Request) -> Response:
        given = giving.give_feedback(principal=who(request), **checked(NewFeedback(data=request.data)))
        return Response(OneFeedbackOut(given).data, status=201)


class FeedbackBatch(APIView):
    """`{feedback: [...]}` (or the bare list): all of them, or none."""

    scope = Scope.FEEDBACK

    @extend_schema(request=Batch, responses={201: BatchOut})
    def post(self, request: Request) -> Response:
        sent = {"feedback": request.data} if isinstance(request.data, list) else request.data
        batch = checked(Batch(data=sent))["feedback"]
        given = giving.give_batch(principal=who(request), batch=batch)
        return Response({"results": FeedbackOut(given, many=True).data}, status=201)


class OneFeedback(APIView):
    scope = Scope.FEEDBACK

    @extend_schema(responses=OneFeedbackOut)
    def get(self, request: Request, feedback_id: UUID) -> Response:
        return Response(OneFeedbackOut(queries.get_feedback(who(request), feedback_id)).data)

    @extend_schema(request=Words, responses=OneFeedbackOut)
    def patch(self, request: Request, feedback_id: UUID) -> Response:
        found = queries.get_feedback(who(request), feedback_id)
        changes = checked(Words(data=request.data))
        changed = giving.change_feedback(feedback=found, principal=who(request), **changes)
        return Response(OneFeedbackOut(changed).data)

    @extend_schema(responses={204: None})
    def delete(self, request: Request, feedback_id: UUID) -> Response:
        found = queries.get_feedback(who(request), feedback_id)
        giving.withdraw_feedback(feedback=found, principal=who(request))
        return Response(status=204)


class FeedbackHistory(APIView):
    """What was said before, the newest first."""

    scope = Scope.FEEDBACK

    @extend_schema(responses=whole_list(RevisionOut))
    def get(self, request: Request, feedback_id: UUID) -> Response:
        found = queries.get_feedback(who(request), feedback_id)
        before: list[FeedbackRevision] = list(found.revisions.all())
        return Response({"results": RevisionOut(before, many=True).data, "next": None, "previous": None})


class Adjudicate(APIView):
    """Owners, approvers, and reviewers of the feedback's category."""

    scope = Scope.FEEDBACK

    @extend_schema(request=Adjudication, responses=FeedbackOut)
    def post(self, request: Request, feedback_id: UUID) -> Response:
        found = queries.get_feedback(who(request), feedback_id)
        wanted = checked(Adjudication(data=request.data))
        judged = judging.adjudicate(feedback=found, principal=who(request), **wanted)
        return Response(FeedbackOut(judged).data)


class Assign(APIView):
    scope = Scope.FEEDBACK

    @extend_schema(request=Assignment, responses=FeedbackOut)
    def post(self, request: Request, feedback_id: UUID) -> Response:
        found = queries.get_feedback(who(request), feedback_id)
        name = checked(Assignment(data=request.data))["user"]
        user_id = None if name is None else ground_queries.get_member(who(request), name).user_id
        judging.assign(feedback=found, principal=who(request), user_id=user_id)
        return Response(FeedbackOut(queries.get_feedback(who(request), feedback_id)).data)


class QueuePages(Pages):
    # Who waits longest is served first.
    ordering = "created_at"


@extend_schema_view(get=extend_schema(parameters=[QueueFilter]))
class Queue(ListAPIView[Feedback]):
    """What waits for a review that the asker may give; `?mine=true`: what is assigned to them."""

    scope = Scope.FEEDBACK
    serializer_class = OneFeedbackOut
    pagination_class = QueuePages

    def get_queryset(self) -> QuerySet[Feedback]:
        wanted = checked(QueueFilter(data=self.request.query_params))
        return queries.queue_of(who(self.request), is_mine=wanted["mine"])


class Reviewers(ListAPIView[Reviewer]):
    scope = Scope.FEEDBACK
    serializer_class = ReviewerOut

    def get_queryset(self) -> QuerySet[Reviewer]:
        return queries.reviewers_of(who(self.request))

    @extend_schema(request=NewReviewer, responses={201: ReviewerOut})
    def post(self, request: Request) -> Response:
        who(request).require(Scope.ADMIN)
        wanted = checked(NewReviewer(data=request.data))
        member = ground_queries.get_member(who(request), wanted["user"])
        made = judging.add_reviewer(principal=who(request), user_id=member.user_id, category=wanted["category"])
        return Response(ReviewerOut(made).data, status=201)


class OneReviewer(APIView):
    scope = Scope.ADMIN

    @extend_schema(responses={204: None})
    def delete(self, request: Request, reviewer_id: UUID) -> Response:
        found = queries.get_reviewer(who(request), reviewer_id)
        judging.remove_reviewer(principal=who(request), reviewer=found)
        return Response(status=204)


class MessageLink(APIView):
    """`messages/{id}/feedback-link/`: an address at which an end user judges this answer without an account."""

    scope = Scope.FEEDBACK

    @extend_schema(request=NewLink, responses={201: MadeLinkOut})
    def post(self, request: Request, message_id: UUID) -> Response:
        message = agent_queries.get_message(who(request), message_id)
        expires_in = checked(NewLink(data=request.data))["expires_in"]
        link = links.make_link(principal=who(request), message=message, expires_in_s=expires_in)
        return Response({**LinkOut(link).data, "url": address_of(link, request)}, status=201)


class Links(ListAPIView[FeedbackLink]):
    """Without their addresses: those are shown to whoever makes the link."""

    scope = Scope.FEEDBACK
    serializer_class = LinkOut

    def get_queryset(self) -> QuerySet[FeedbackLink]:
        return queries.links_of(who(self.request))


class OneLink(APIView):
    scope = Scope.FEEDBACK

    @extend_schema(responses={204: None})
    def delete(self, request: Request, link_id: UUID) -> Response:
        links.revoke_link(principal=who(request), link=queries.get_link(who(request), link_id))
        return Response(status=204)
