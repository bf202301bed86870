from django.urls import path

from feedback.api import experiments, figures, views

urlpatterns = [
    path("feedback/", views.FeedbackList.as_view()),
    path("feedback/batch/", views.FeedbackBatch.as_view()),
    path("feedback/queue/", views.Queue.as_view()),
    path("feedback/reviewers/", views.Reviewers.as_view()),
    path("feedback/reviewers/<uuid:reviewer_id>/", views.OneReviewer.as_view()),
    path("feedback/analytics/", figures.Analytics.as_view()),
    path("feedback/analytics/cohorts/", figures.Cohorts.as_view()),
    path("feedback/analytics/compare/", figures.Compare.as_view()),
    path("feedback/analytics/correlation/", figures.Correlation.as_view()),
    path("feedback/trends/", figures.Trends.as_view()),
    path("feedback/<uuid:feedback_id>/", views.OneFeedback.as_view()),
    path("feedback/<uuid:feedback_id>/history/", views.FeedbackHistory.as_view()),
    path("feedback/<uuid:feedback_id>/adjudicate/", views.Adjudicate.as_view()),
    path("feedback/<uuid:feedback_id>/assign/", views.Assign.as_view()),
    path("experiments/", experiments.Experiments.as_view()),
    path("experiments/advice/", experiments.Advice.as_view()),
    path("experiments/<uuid:experiment_id>/", experiments.OneExperiment.as_view()),
    path("experiments/<uuid:experiment_id>/start/", experiments.StartExperiment.as_view()),
    path("experiments/<uuid:experiment_id>/stop/", experiments.StopExperiment.as_view()),
    path("experiments/<uuid:experiment_id>/promote/", experiments.PromoteWinner.as_view()),
    path("feedback-links/", views.Links.as_view()),
    path("feedback-links/<uuid:link_id>/", views.OneLink.as_view()),
    path("messages/<uuid:message_id>/feedback-link/", views.MessageLink.as_view()),
]
