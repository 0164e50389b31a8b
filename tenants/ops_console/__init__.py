"""What the admin modules of every app share: the ops console's lists, pages, actions and trail."""
