from django.urls import path

from feedback.api import views

urlpatterns = [
    path("feedback/", views.FeedbackList.as_view()),
    path("feedback/analytics/", views.Analytics.as_view()),
    path("feedback/trends/", views.Trends.as_view()),
    path("feedback/<uuid:feedback_id>/", views.OneFeedback.as_view()),
    path("feedback/<uuid:feedback_id>/adjudicate/", views.Adjudicate.as_view()),
]
