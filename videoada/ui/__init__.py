"""The page: a form that puts videos into a render folder's queue, and what that folder holds, in a browser."""
